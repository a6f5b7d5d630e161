-- version 3
CREATE TABLE places (
    name TEXT NOT NULL,
    country TEXT NOT NULL,
    elevation INTEGER NOT NULL,
    population INTEGER NOT NULL,
    capital INTEGER NOT NULL,
    PRIMARY KEY (name, country)
);
CREATE INDEX places_by_country ON places (country);

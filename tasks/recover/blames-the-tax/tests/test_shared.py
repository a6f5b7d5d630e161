"""No job, book, journey or client has anything of another one's, and the rules are what they were."""

import unittest

from studio import InvoiceBook, Job, Line, MixedRates, invoice_text, tax, terms_for, travel


def lines(job):
    return [(line.what, line.cents, line.rate) for line in job.lines]


def plain(terms):
    return (terms.days, terms.discount, terms.note)


class SharedTest(unittest.TestCase):
    def test_two_jobs_at_a_time(self):
        first, second = Job("A"), Job("B")
        first.charge("Portrait", 24000)
        second.charge("Cover", 80000, 7)
        first.extend([Line("Prints", 500)])
        third = Job("C")
        self.assertEqual(lines(first), [("Portrait", 24000, 19), ("Prints", 500, 19)])
        self.assertEqual((lines(second), lines(third)), ([("Cover", 80000, 7)], []))
        self.assertEqual((tax(first), tax(second), tax(third)), (4655, 5600, 0))

    def test_jobs_that_were_handed_one_list(self):
        one, two = travel(10, lines=[Line("Portrait", 24000)]), [Line("Cover", 100, 7)]
        first = Job("A", two)
        second = Job("B", two)
        first.charge("Inside", 50, 7)
        self.assertEqual((len(first.lines), len(second.lines)), (2, 1))
        self.assertEqual([(line.what, line.cents) for line in one], [("Portrait", 24000), ("10 km by car", 420)])

    def test_a_job_begun_with_the_empty_list_of_another(self):
        job = Job("A")
        other = Job("B", job.lines)
        other.charge("Portrait", 100)
        self.assertEqual((lines(job), lines(other)), ([], [("Portrait", 100, 19)]))

    def test_journeys(self):
        first = travel(100, 2)
        second = travel(50)
        self.assertEqual([line.what for line in first], ["100 km by car", "2 days away"])
        self.assertEqual([(line.what, line.cents) for line in second], [("50 km by car", 2100)])
        self.assertEqual(list(travel(0)), [])

    def test_a_journey_on_a_job(self):
        job = Job("A")
        job.charge("Wedding", 150000)
        longer = travel(20, 1, job.lines)
        self.assertEqual((len(longer), len(job.lines)), (3, 1))

    def test_terms(self):
        wanted = {"Lumen Press": (30, 3, "PO number, please"), "Orchard School": (45, 2, ""), "City Theatre": (60, 0, "")}
        for _ in range(2):
            for client, terms in wanted.items():
                self.assertEqual(plain(terms_for(client)), terms)
                self.assertEqual(plain(terms_for("Ms Adler")), (30, 0, ""))
            self.assertEqual(plain(terms_for("City Theatre", days=7, note="at once")), (7, 0, "at once"))

    def test_an_invoice_after_another_client_s(self):
        invoice_text("A-2024-001", Job("Lumen Press", [Line("Cover", 80000, 7)]))
        text = invoice_text("A-2024-002", Job("Ms Adler", [Line("Portrait", 24000)]))
        self.assertEqual(text.splitlines()[-1], "Payable within 30 days.")
        self.assertEqual(text.splitlines()[3:5], ["VAT 19 %" + " " * 27 + "45.60", "Total" + " " * 29 + "285.60"])

    def test_two_books(self):
        first, second = InvoiceBook("A"), InvoiceBook("B")
        numbers = [book.issue(Job("X", [Line("Portrait", 100)]), year) for book, year in (
            (first, 2024), (first, 2024), (second, 2024), (first, 2025), (second, 2024)
        )]
        self.assertEqual(numbers, ["A-2024-001", "A-2024-002", "B-2024-001", "A-2025-001", "B-2024-002"])
        self.assertEqual((first.turnover(), second.turnover(), InvoiceBook("C").turnover()), (300, 200, 0))

    def test_the_tax_office_s_rule(self):
        book = InvoiceBook("A")
        for mixed in ([Line("Cover", 80000, 7), Line("Studio", 1)], [Line("Studio", 1), Line("Cover", 80000, 7)]):
            job = Job("Lumen Press", mixed)
            with self.assertRaises(MixedRates) as caught:
                tax(job)
            self.assertEqual(str(caught.exception), "Lumen Press: lines at 7 % and 19 %")
            with self.assertRaises(MixedRates):
                book.issue(job, 2024)
        self.assertEqual(book.issue(Job("X", [Line("Cover", 8, 7)]), 2024), "A-2024-001")
        with self.assertRaises(ValueError):
            tax(Job("X", [Line("Odd", 1, 16)]))

"""Writers that customers brought along."""

import unittest

from studio import Job, Line, MixedRates, invoice_text, tax


class InvoiceTest(unittest.TestCase):
    def test_portrait(self):
        job = Job("Ms Adler")
        job.charge("Portrait, two hours", 24000)
        self.assertEqual(tax(job), 4560)

    def test_text(self):
        job = Job("Mr Beck", [Line("Passport picture", 1500)])
        text = invoice_text("A-2024-001", job)
        self.assertIn("Total                              17.85", text)
        self.assertIn("Payable within 30 days.", text)

    def test_two_rates_are_refused(self):
        with self.assertRaises(MixedRates):
            tax(Job("Lumen Press", [Line("Cover", 80000, 7), Line("Studio", 10000)]))

    def test_without_lines(self):
        self.assertEqual(tax(Job("Nobody", [])), 0)


class PrintRightsTest(unittest.TestCase):
    def test_cover_at_seven_percent(self):
        job = Job("Lumen Press")
        job.charge("Cover", 80000, rate=7)
        job.charge("Inside, 4 pictures", 20000, rate=7)
        self.assertEqual(tax(job), 7000, "studio/tax.py: reduced rate")

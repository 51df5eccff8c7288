"""`imclab compare`: what each protocol promises, costs and breaks, measured here and now.

properties.py   the rows: what is asked, which topology of configs/compare shows it, and how the answer is read
seen.py         what a run has shown, for whoever reads an answer out of it
settings.py     what of this kernel the answers depend on
table.py        runs the topologies, and puts the answers together
text.py         the table for a terminal and for README, and all there is to know of one row
page.py         the table as one HTML file
"""

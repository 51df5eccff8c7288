"""The benchmark: what a worker, a message and a topology cost, each beside a peer, in one run, as a ratio.

    figures.py      which there are, and what measures them
    starts.py, connects.py, messages.py, growth.py, idle.py, suite.py    one figure each, or a few that are one
    rounds.py       taking turns: ours, peer, ours, peer
    stand.py        a run whose workers are started when they are asked for, and go on until they are dismissed
    topologies/     the workers that are measured, and what they do
    lines.py        what came of it: medians, ratios, and whether they reach what is to be reached
    table.py, curve.py, record.py    that as a text, as an SVG, as JSON

It is no test: a time on a machine that others use means little, and nothing else depends on one.
"""

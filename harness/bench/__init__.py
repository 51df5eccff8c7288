"""The benchmark: what a worker, a message and a topology cost, each beside a peer, in one run, as a ratio.

    figures.py      which there are, and what measures them
    starts.py, connects.py, messages.py, growth.py, idle.py, suite.py    one figure each, or two that are one
    rounds.py       taking turns: ours, peer, ours, peer
    runs.py         runs of the benchmark's topologies, and the core that some share
    stand.py        a run whose workers are started when they are asked for, and go on until they are dismissed
    topologies/     the workers that are measured, and what they do
    multiprocess.py, peers/    the peers that have a program of their own
    lines.py        what came of it: ratios, and whether they reach what is to be reached
    table.py, record.py, curve.py, files.py    that as a text, as JSON, as an SVG, and where the two are written
    machine.py      what was measured, and on what

It is no test: a time on a machine that others use means little, and nothing else depends on one.
"""

"""Workers that break the rules of the protocols, one misbehaviour a file; who they do it to, and who stands by.

victim      a server that holds whatever it is sent, granted to the other two
innocent    a client that goes on all the while, and lets the hostile one begin once it is at it
the rest    `main(worker)` does its worst, says so, and stays; its docstring tells what has to come of it
"""

"""The rows of the table: what is asked of each protocol, which experiment shows it, and how the answer is read from it.

An experiment is a topology in `configs/compare`, whose own expectations hold what is claimed here. Reading is pure.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from harness.compare.seen import Answer, Seen
from harness.compare.settings import OF_BACKLOG, OF_DATAGRAMS, OF_DESCRIPTORS, OF_LANDLOCK, OF_LISTENERS, OF_SENDERS

DONE: Final = "done"
# Later than this is not at once, however busy the machine: half of the 5 s that a connect waits.
AT_ONCE_SECONDS: Final = 2.5
TOKENS: Final = "62^27"


@dataclass(frozen=True, slots=True)
class Property:
    """One row.

    name, title  what it is called, and what is asked
    experiment   the topology, configs/compare/EXPERIMENT.imclab.yaml
    read         the answer, from a run that passed
    claim        the seed's own words, where it has any
    facets       which cells of the experiment, where it has that axis
    refused      the answer of a cell that cannot be
    """

    name: str
    title: str
    experiment: str
    read: Callable[[Seen], Answer]
    claim: str = ""
    facets: bool | None = None
    refused: str = ""


def returns_before_accept(seen: Seen) -> Answer:
    """Say whether connect returned while nobody had accepted."""
    return Answer("yes" if seen.reports("client")["connect"] == DONE else "no: it waits", seen.reports("client"))


def never_accepts(seen: Seen) -> Answer:
    """Say what a client learns that is never accepted."""
    told = seen.reports("client")
    if told["connect"] == DONE:
        return Answer("nothing: it is connected", told)
    return Answer(f"{told['connect']} at its deadline", told)


def died_before(seen: Seen) -> Answer:
    """Say what connect is told whose server has died."""
    (result,) = seen.results("client", "connect")
    return Answer(result["error"], {"connect": result["error"], "because": result["detail"]})


def killed_before_accept(seen: Seen) -> Answer:
    """Say which call learns that the server was killed, and when."""
    told = seen.reports("client")
    call = "recvmsg" if "recvmsg" in told else "connect"
    seconds = seen.seconds_from_kill("server", "client", call)
    when = "at once" if seconds < AT_ONCE_SECONDS else f"after {seconds:.0f} s"
    return Answer(f"{told[call]} from {call}, {when}", {**told, "from_kill": seconds})


def accept_ends(seen: Seen) -> Answer:
    """Say whether accept ends once everybody has closed the address."""
    (result,) = seen.results("server", "accept")
    if result["error"] is not None:
        return Answer(f"yes: {result['error']}", {"accept": result["error"], "because": result["detail"]})
    return Answer("no: a name may be known to anybody", {"accept": DONE, **seen.reports("client")})


def pending(seen: Seen) -> Answer:
    """Say how many connects return while nobody accepts."""
    return _pending(seen, "client", {})


def pending_of_few(seen: Seen) -> Answer:
    """Say the same of a client that may have few descriptors open."""
    limit = seen.plan.workers["frugal"].limits.open_files
    assert limit is not None  # noqa: S101 - the topology says it
    return _pending(seen, "frugal", {OF_DESCRIPTORS: limit})


def _pending(seen: Seen, client: str, limits: Mapping[str, int]) -> Answer:
    told = seen.reports(client)
    count, then = told["connected"], told["then"]
    if seen.protocol == "acknowledged":
        # What there is room for are requests; nobody is connected by them.
        return Answer("0: each waits for its accept", told)
    if then != "EAGAIN":
        return Answer(f"{count}, then {then}", told, limits, count)
    return Answer(f"{count}, then it waits", told, _limit_of_queue(seen, count), count)


def _limit_of_queue(seen: Seen, count: int) -> dict[str, int]:
    """Return the settings that say that there is room for `count` connections in a server's queue."""
    match seen.protocol:
        case "stream":
            # listen() takes the lesser of both.
            return seen.of(min(OF_BACKLOG, OF_LISTENERS, key=lambda name: seen.settings[name]))
        case "datagram" if count <= seen.settings[OF_DATAGRAMS] + 1:
            return seen.of(OF_DATAGRAMS)
        case _:
            return seen.of(OF_SENDERS)


def many_clients(seen: Seen) -> Answer:
    """Say what becomes of many that connect at once."""
    told = {name: seen.reports(name) for name in seen.outcome.workers if name.startswith("client.")}
    waited = sum(reports.get("waits") == "yes" for reports in told.values())
    refused = sum("refused" in reports for reports in told.values())
    lost = len(told) - refused - len(set(seen.reports("hub")["served"]))
    evidence = {"clients": len(told), "waited": waited, "refused": refused, "lost": lost}
    text = f"{lost} lost, {refused} refused, {waited} of {len(told)} waited"
    by_queue = seen.protocol in ("stream", "datagram")
    return Answer(text, evidence, _limit_of_queue(seen, waited) if by_queue else {}, waited if by_queue else None)


def guessed(seen: Seen) -> Answer:
    """Say whether a stranger finds anything in /proc/net/unix, and can connect to it."""
    told = seen.reports("stranger")
    evidence = {**told, "confined": seen.reports("confined")["list"]}
    if not told["names"]:
        return Answer("no: it has no name", evidence)
    connected = "and connected to" if told["connect"] == DONE else f"but {told['connect']}"
    return Answer(f"yes: listed, {connected}", {**evidence, "tokens_to_guess": TOKENS})


def same_token(seen: Seen) -> Answer:
    """Say what the second one is told that chooses a token."""
    told = seen.reports("second")
    return Answer("there are no tokens" if told["token"] == "none" else told["makeboundsock"], told)  # noqa: S105


def taken_over(seen: Seen) -> Answer:
    """Say whom the client reaches that still holds the address."""
    (result,) = seen.results("client", "connect")
    evidence = {"connect": result["error"] or DONE, **seen.reports("thief")}
    return Answer(
        "yes: the client reached another" if evidence.get("accept") == DONE else f"no: {result['error']}", evidence
    )


def without_names(seen: Seen) -> Answer:
    """Say whether it works without the calls that names are made of."""
    told = seen.reports("worker")
    if told["makeboundsock"] == DONE:
        return Answer("yes" if told["received"] == "hello" else "no", told)
    return Answer(f"no: {told['makeboundsock']}", told)


def reaches(seen: Seen) -> Answer:
    """Say whether the client reaches the server."""
    told = seen.reports("client")
    if told["connect"] != DONE:
        return Answer(f"no: {told.get('connect_because', told['connect'])}", told)
    if "own" in told:
        return Answer(f"by the global descriptor alone: else {told['own_because']}", told)
    return Answer("yes" if told["answer"] == "HELLO" else "no", told)


def reaches_under_landlock(seen: Seen) -> Answer:
    """Say whether the client reaches the server; the scope is there from version 6 of Landlock on."""
    return replace(reaches(seen), depends_on=seen.of(OF_LANDLOCK))


def needs_global_descriptor(seen: Seen) -> Answer:
    """Say whether a client without a service port of its own fails."""
    told = seen.reports("client")
    return Answer("no" if told["connect"] == DONE else f"yes: {told['connect']} without", told)


def maker_exits(seen: Seen) -> Answer:
    """Say whether the address leads to the BoundSocket after the end of the process whose it was."""
    (result,) = seen.results("client", "connect")
    evidence = {"connect": result["error"] or DONE, "exit_of_maker": seen.outcome.workers["maker"].exit_status}
    return Answer("yes" if result["error"] is None else f"no: {result['error']}", evidence)


def breaks(seen: Seen) -> Answer:
    """Say whether another holder finds the address broken."""
    (result,) = seen.results("other", "connect")
    evidence = {**seen.reports("breaker"), "connect_of_other": result["error"] or DONE}
    return Answer("no" if result["error"] is None else f"yes: {result['error']}", evidence)


def revoked(seen: Seen) -> Answer:
    """Say whether the one holder is refused, and no other."""
    _, after = seen.results("holder", "connect")
    (other,) = seen.results("other", "connect")
    (kept,) = seen.results("holder", "recvmsg")
    evidence = {
        "connect_of_holder": after["error"] or DONE,
        "connect_of_other": other["error"] or DONE,
        "connection_from_before": kept["error"] or DONE,
    }
    alone = after["error"] is not None and other["error"] is None
    return Answer(f"yes: {after['error']}" if alone else "no", evidence)


def who_connects(seen: Seen) -> Answer:
    """Say by which of the kernel's words the server knows the process that connects."""
    pids = {name: seen.reports(name)["pid"] for name in ("lends", "forges")}
    told: list[dict[str, int]] = seen.reports("server")["seen"]
    # Two connections, one of each process: whose word names both can be trusted.
    right = [
        word
        for word in ("SO_PEERCRED", "SCM_CREDENTIALS")
        if Counter(one[word] for one in told) == Counter(pids.values())
    ]
    evidence: dict[str, Any] = {"pids": pids, "seen": told}
    return Answer(f"its process, by {right[0]}" if right else "no", evidence)


def descriptors(seen: Seen) -> Answer:
    """Say how many descriptors each takes."""
    told = seen.reports("worker")
    in_flight = f" + {told['in_flight']} in flight" if told["in_flight"] else ""
    return Answer(f"{told['address']}, {told['pending']}{in_flight}, {told['accepted']}", told)


def kind(seen: Seen) -> Answer:
    """Say of which kind the two ends are."""
    told = seen.reports("worker")
    return Answer(" and ".join(sorted(set(told["kind"]))), told)


def insane(seen: Seen) -> Answer:
    """Say what comes of a connect message with something else than a connection."""
    results = seen.results("server", "accept")
    evidence = {**seen.reports("client"), "accept": [result["error"] or DONE for result in results]}
    if len(results) == 1:
        return Answer("there is none to be sent", evidence)
    wrong, right = results
    kept = "the next one is accepted" if right["error"] is None else f"then {right['error']}"
    return Answer(f"{wrong['error'] or 'accepted'}; {kept}", evidence)


def calls_of(side: str) -> Callable[[Seen], Answer]:
    """Return how the system calls of one side are read: connect or accept."""

    def calls(seen: Seen) -> Answer:
        told = seen.reports("worker")
        return Answer(str(len(told[side])), {"calls": told[side], "counted_by": told["by"]})

    return calls


PROPERTIES: Final = (
    Property(
        "before-accept",
        "connect returns before the server accepted",
        "nobody-accepts",
        returns_before_accept,
        "The problem with this is that it succeeds immediately. We don't know if our connection request was received.",
    ),
    Property("dead-server", "connect to a server that died before", "dead-server", died_before),
    Property("never-accepts", "a server never accepts: the client learns", "nobody-accepts", never_accepts),
    Property(
        "killed-before-accept",
        "a server is killed between connect and accept: the client learns",
        "killed-before-accept",
        killed_before_accept,
    ),
    Property("accept-ends", "accept ends when every address is gone", "accept-ends", accept_ends),
    Property(
        "pending",
        "connections pending before the next one waits",
        "pending",
        pending,
        "Currently backlog=5 on Mac OS X. This is bad because it exposes an arbitrary limit to NaCl processes.",
    ),
    Property("pending-of-few", "the same, of a client with few descriptors", "pending", pending_of_few),
    Property("many-clients", "many clients at once", "many-clients", many_clients),
    Property("guessed", "is found in /proc/net/unix by one that was granted nothing", "guessed", guessed),
    Property(
        "same-token",
        "a token is chosen twice",
        "same-token",
        same_token,
        "An error here means two processes chose the same token, which is not supposed to happen.",
    ),
    Property("taken-over", "is taken over by another when the server is gone", "taken-over", taken_over),
    Property(
        "sane-descriptor",
        "a client sends something else than a connection",
        "sane-descriptor",
        insane,
        "We assume that the FD that is sent to us behaves sanely.",
    ),
    Property(
        "without-names",
        "works where seccomp denies socket, bind, listen, connect, accept",
        "without-names",
        without_names,
    ),
    Property(
        "landlock-scope", "works under Landlock's scope of abstract names", "landlock-scope", reaches_under_landlock
    ),
    Property("network-namespace", "works across network namespaces", "network-namespace", reaches),
    Property(
        "process-and-user-namespaces",
        "works across PID and user namespaces",
        "process-and-user-namespaces",
        reaches,
    ),
    Property(
        "global-descriptor",
        "needs the global descriptor",
        "global-descriptor",
        needs_global_descriptor,
        'global_fd is only available if sel_ldr is run with "-X -1".',
    ),
    Property("maker-exits", "outlives the process that made it", "maker-exits", maker_exits),
    Property("one-breaks-it", "one holder can break it for others", "one-breaks-it", breaks, facets=False),
    Property(
        "one-breaks-its-facet",
        "the same, each with a facet",
        "one-breaks-it",
        breaks,
        facets=True,
        refused="there are no facets",
    ),
    Property("revoked", "can be taken from one holder alone", "revoked", revoked, refused="no: there are no facets"),
    Property("who-connects", "the server can tell which holder connects", "who-connects", who_connects, facets=False),
    Property(
        "who-connects-by-facet",
        "the same, when each has a facet",
        "who-connects",
        who_connects,
        facets=True,
        refused="there are no facets",
    ),
    Property("descriptors", "descriptors for an address, a pending, an accepted connection", "anatomy", descriptors),
    Property("connect-calls", "system calls of a connect", "system-calls", calls_of("connect")),
    Property("accept-calls", "system calls of an accept", "system-calls", calls_of("accept")),
    Property("kind-of-socket", "the kind of socket one gets", "anatomy", kind),
)

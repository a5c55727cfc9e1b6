"""Properties of one direction of a link, and PROPERTIES, the table that defines everything about each of them.

Merging, planning, feasibility, shaping and the prompt use the table. Pure: `network/shaping.py` applies the properties
to interfaces and reads them back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from typing import Any

from mnbed.plan.link_property import BACKENDS, PromptWords, Property, within
from topologies.burst_loss import NO_BURSTS, NONE, BurstLoss, format_burst_loss, parse_burst_loss
from topologies.units import format_bandwidth, format_duration, parse_bandwidth, parse_duration

# With a shorter queue than this, TCP cannot fill a link, whatever its delay.
MIN_QUEUE_PACKETS = 20
# One full Ethernet frame as HTB and bfifo count it: 1500 bytes of IP and a 14-byte header.
FRAME_BYTES = 1514
# Below 8 kbit/s, sending a full frame takes longer than TCP's first retransmission timeout.
MIN_WIRE_BPS = 8e3
# HTB's classic rate field holds bytes per second in 32 bits: 34.36 Gbit/s.
MAX_WIRE_BPS = 34e9
# netem counts 64 ns ticks in 32 bits: 274 s.
MAX_WIRE_DELAY_S = 200.0
# tc keeps times in ticks of 64 ns and prints shares with six digits; larger differences mean a wrong setting.
TIME_TOLERANCE_S = 2e-6
SHARE_TOLERANCE = 1e-6
# The names of iproute2's tables for netem; "uniform" needs no table.
DISTRIBUTIONS = ("normal", "uniform", "pareto", "paretonormal")


@dataclass(frozen=True, kw_only=True)
class LinkProperties:
    """One direction of a link, in emulated units."""

    bandwidth_bps: float
    """Rate in bit/s, including Ethernet headers."""
    delay_s: float = 0.0
    """One-way delay, seconds."""
    jitter_s: float = 0.0
    """Variation of the delay, seconds: its standard deviation, or half the width of a uniform distribution."""
    distribution: str = "normal"
    """Distribution of the jitter: one of DISTRIBUTIONS."""
    loss: float = 0.0
    """Probability of losing a packet, 0 to 1."""
    burst_loss: BurstLoss = NO_BURSTS
    """Loss in bursts, instead of `loss`."""
    reorder: float = 0.0
    """Probability that a packet skips the delay and overtakes others, 0 to 1."""
    queue_packets: int | None = None
    """Queue length in full-size packets; None: determined by `queue_bdp`."""
    queue_bdp: float = 1.0
    """Queue length in bandwidth-delay products of this link's own round trip; at least 20 packets."""

    @property
    def waiting_room_packets(self) -> int:
        """Length of the queue in front of the link, in full-size packets; independent of the dilation."""
        if self.queue_packets is not None:
            return self.queue_packets
        product = self.bandwidth_bps * 2 * self.delay_s / 8 / FRAME_BYTES
        # 12 digits first: a dilated product differs from its original in the last bit.
        return max(MIN_QUEUE_PACKETS, math.ceil(float(f"{product * self.queue_bdp:.12g}")))

    @property
    def loss_share(self) -> float:
        """Share of packets lost in the long run, singly or in bursts, 0 to 1."""
        return self.loss or self.burst_loss.loss_share

    def dilated(self, dilation: float) -> LinkProperties:
        """The properties on the wire when an emulated second lasts `dilation` wall seconds.

        The bandwidth-delay product, and so the queue, does not depend on the dilation.
        """
        return replace(self, **_dilated(self, dilation))

    def towards(self, pair: PairProperties) -> LinkProperties:
        """This link combined with the properties of the pair of hosts: the lower rate, the sum of the delays, ...

        Both must use the same unit of time.
        """
        both = {
            row.field: row.together([mine, theirs])
            for row in PROPERTIES
            if row.together is not None
            for mine, theirs in [(getattr(self, row.field), getattr(pair, row.field))]
            if theirs is not None
        }
        return replace(self, **both)


@dataclass(frozen=True, kw_only=True)
class PairProperties:
    """Properties between two hosts or their regions, in addition to the links in the graph; one direction."""

    bandwidth_bps: float | None = None
    """None: not limited."""
    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0

    def dilated(self, dilation: float) -> PairProperties:
        """In wall-clock units, when an emulated second lasts `dilation` wall seconds."""
        return replace(self, **_dilated(self, dilation))


def _dilated(properties: LinkProperties | PairProperties, dilation: float) -> dict[str, Any]:
    values = ((row, getattr(properties, row.field, None)) for row in PROPERTIES)
    return {row.field: row.dilated(value, dilation) for row, value in values if value is not None}


@dataclass(frozen=True, kw_only=True)
class PathProperties:
    """The combined properties of the directions along a path through the network, without queues."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    distribution: str = "normal"
    loss: float = 0.0
    bursts: tuple[tuple[int, BurstLoss], ...] = ()
    """(position along the path from 0, its bursts) of the directions that lose packets in bursts, in order."""


def along(directions: Iterable[LinkProperties], pair: PairProperties | None = None) -> PathProperties:
    """Combines a path: delays and the variances of independent jitters add up; a packet arrives if no link loses it.

    If all jitters have the same distribution, so has their sum, although exactly so only for the normal distribution.
    """
    directions = list(directions)
    pair = pair or PairProperties()
    names = {direction.distribution for direction in directions if direction.jitter_s}
    return PathProperties(
        distribution=names.pop() if len(names) == 1 else "normal",
        bursts=tuple(
            (number, direction.burst_loss)
            for number, direction in enumerate(directions)
            if direction.burst_loss
        ),
        **{
            row.field: row.together(
                [*(getattr(direction, row.field) for direction in directions), getattr(pair, row.field)]
            )
            for row in PROPERTIES
            if row.together is not None and row.field in _OF_PATHS
        },
    )


_OF_PATHS = {item.name for item in fields(PathProperties)}


# The columns of PROPERTIES


def _rate_problems(asked: LinkProperties, wire: LinkProperties, where: str) -> Iterator[str]:
    if not MIN_WIRE_BPS <= wire.bandwidth_bps <= MAX_WIRE_BPS:
        shown, after, least, most = map(
            format_bandwidth, (asked.bandwidth_bps, wire.bandwidth_bps, MIN_WIRE_BPS, MAX_WIRE_BPS)
        )
        yield f"{shown} {where} is {after} after dilation; allowed: {least} to {most}"


def _time_problem(asked_s: float, wire_s: float, where: str) -> Iterator[str]:
    if wire_s > MAX_WIRE_DELAY_S:
        shown, after, most = map(format_duration, (asked_s, wire_s, MAX_WIRE_DELAY_S))
        yield f"{shown} {where} is {after} after dilation; allowed: at most {most}"


def _delay_problems(asked: LinkProperties, wire: LinkProperties, where: str) -> Iterator[str]:
    yield from _time_problem(asked.delay_s, wire.delay_s, where)


def _jitter_problems(asked: LinkProperties, wire: LinkProperties, where: str) -> Iterator[str]:
    yield from _time_problem(asked.jitter_s, wire.jitter_s, where)
    if asked.jitter_s > asked.delay_s:
        jitter, delay = format_duration(asked.jitter_s), format_duration(asked.delay_s)
        yield f"{jitter} {where} is above its delay, {delay}: delays would be negative"


def _burst_problems(asked: LinkProperties, _wire: LinkProperties, where: str) -> Iterator[str]:
    if asked.burst_loss and asked.loss:
        yield (
            f"{format_burst_loss(asked.burst_loss)} {where}, which also has loss {asked.loss:g}: a link loses packets "
            "either singly or in bursts; set loss: 0, or burst_loss: none"
        )


def _reorder_problems(asked: LinkProperties, _wire: LinkProperties, where: str) -> Iterator[str]:
    if asked.reorder and not asked.delay_s:
        yield f"{asked.reorder:g} {where}, which has no delay, so no packet can overtake another"


def _queue_fields(value: int | str) -> dict[str, Any]:
    """Packets, or bandwidth-delay products."""
    if isinstance(value, str):
        return {"queue_packets": None, "queue_bdp": float(value.removesuffix("bdp"))}
    return {"queue_packets": value}


def _jitter_words(wire: LinkProperties) -> str:
    return f" {wire.jitter_s * 1e6:.3f}us" if wire.jitter_s else ""


def _distribution_words(wire: LinkProperties) -> str:
    # Without a table, netem draws from the uniform distribution.
    return f" distribution {wire.distribution}" if wire.jitter_s and wire.distribution != "uniform" else ""


def _share_words(name: str) -> Callable[[LinkProperties], str]:
    def words(wire: LinkProperties) -> str:
        share = getattr(wire, name)
        return f" {name} {share * 100:.6f}%" if share else ""

    return words


def _burst_words(wire: LinkProperties) -> str:
    shares = astuple(wire.burst_loss)
    return " loss gemodel" + "".join(f" {share * 100:.9g}%" for share in shares) if wire.burst_loss else ""


def _read_bursts(options: Mapping[str, Any]) -> BurstLoss:
    shown = options.get("loss-gemodel")
    if shown is None:
        return NO_BURSTS
    return BurstLoss(**{ours: float(shown[theirs]) for ours, theirs in _GEMODEL.items()})


# Ours -> netem's, as tc shows it.
_GEMODEL = {"p": "p", "r": "r", "loss_bad": "1-h", "loss_good": "1-k"}


def _option(outer: str, inner: str) -> Callable[[Mapping[str, Any]], float]:
    """A number that tc shows for netem; 0 if it shows none."""
    return lambda options: float(options.get(outer, {}).get(inner, 0.0))


def _lost_somewhere(losses: Sequence[float]) -> float:
    return 1 - math.prod(1 - loss for loss in losses)


def _seconds(value: float) -> str:
    return f"{value:g} s"


def _prompt_bandwidth(text: str) -> float:
    """Mininet's `bw` is a number of Mbit/s."""
    try:
        rate = float(text) * 1e6
    except ValueError:
        rate = parse_bandwidth(text)
    if not rate > 0:
        raise ValueError("it must be above 0")
    return rate


def _prompt_share(text: str) -> float:
    value = float(text.removesuffix("%")) / 100
    if not 0 <= value <= 1:
        raise ValueError("it must be 0 to 100 percent")
    return value


def _prompt_bursts(text: str) -> BurstLoss:
    if text == NONE:
        return NO_BURSTS
    return parse_burst_loss("/".join(str(_prompt_share(part)) for part in text.split("/")))


def _answer_bursts(burst: BurstLoss) -> str:
    return f"burst_loss {burst.loss_share:.3%} in bursts of {burst.mean_burst:.3g}" if burst else ""


def _prompt_queue(text: str) -> int | str:
    if text.isdecimal() and 1 <= int(text) <= 1_000_000:
        return int(text)
    if text.endswith("bdp") and float(text.removesuffix("bdp")) > 0:
        return text
    raise ValueError("it must be a number of packets, or of bandwidth-delay products, such as 2bdp")


# In the order of netem's words.
PROPERTIES: tuple[Property, ...] = (
    Property(
        key="bandwidth",
        field="bandwidth_bps",
        form=format_bandwidth,
        has_unit=True,
        dilated=lambda rate, dilation: rate / dilation,
        together=min,
        backends=BACKENDS,
        problems=_rate_problems,
        prompt=PromptWords(
            name="bw",
            example="5",
            parse=_prompt_bandwidth,
            units="Mbit/s, or with a unit: 500kbit",
            answer=format_bandwidth,
        ),
    ),
    Property(
        key="delay",
        field="delay_s",
        form=format_duration,
        has_unit=True,
        dilated=lambda seconds, dilation: seconds * dilation,
        together=math.fsum,
        problems=_delay_problems,
        netem=lambda wire: f" delay {wire.delay_s * 1e6:.3f}us",
        read_back=_option("delay", "delay"),
        close=within(TIME_TOLERANCE_S),
        kernel_text=_seconds,
        prompt=PromptWords(
            name="delay",
            example="20ms",
            parse=parse_duration,
            answer=lambda value: f"delay {format_duration(value)}",
        ),
    ),
    Property(
        key="jitter",
        field="jitter_s",
        form=format_duration,
        has_unit=True,
        dilated=lambda seconds, dilation: seconds * dilation,
        # Variances of independent delays add up.
        together=lambda spreads: math.hypot(*spreads),
        problems=_jitter_problems,
        netem=_jitter_words,
        read_back=_option("delay", "jitter"),
        close=within(TIME_TOLERANCE_S),
        kernel_text=_seconds,
        prompt=PromptWords(
            name="jitter",
            example="2ms",
            parse=parse_duration,
            answer=lambda value: f"jitter {format_duration(value)}",
        ),
    ),
    # Asks for nothing without a jitter, and tc does not show it.
    Property(key="distribution", field="distribution", backends=BACKENDS, netem=_distribution_words),
    Property(
        key="loss",
        field="loss",
        together=_lost_somewhere,
        netem=_share_words("loss"),
        read_back=_option("loss-random", "loss"),
        close=within(SHARE_TOLERANCE),
        prompt=PromptWords(
            name="loss",
            example="1",
            parse=_prompt_share,
            units="percent",
            answer=lambda value: f"loss {value:.3%}",
        ),
    ),
    Property(
        key="burst_loss",
        field="burst_loss",
        form=format_burst_loss,
        problems=_burst_problems,
        netem=_burst_words,
        read_back=_read_bursts,
        close=lambda actual, requested: all(
            map(within(SHARE_TOLERANCE), astuple(actual), astuple(requested))
        ),
        kernel_text=format_burst_loss,
        from_graph=parse_burst_loss,
        to_graph=format_burst_loss,
        prompt=PromptWords(
            name="burst_loss",
            example="1/25",
            parse=_prompt_bursts,
            units="p/r in percent, or none",
            answer=_answer_bursts,
        ),
    ),
    Property(
        key="reorder",
        field="reorder",
        backends=("netem",),
        problems=_reorder_problems,
        netem=_share_words("reorder"),
        read_back=_option("reorder", "reorder"),
        close=within(SHARE_TOLERANCE),
        prompt=PromptWords(
            name="reorder", example="1", parse=_prompt_share, units="percent", answer=lambda _value: ""
        ),
    ),
    Property(
        key="queue",
        field="queue_packets",
        fields=_queue_fields,
        backends=BACKENDS,
        prompt=PromptWords(
            name="queue",
            example="100",
            parse=_prompt_queue,
            units="packets, or 2bdp",
            answer=lambda _value: "",
        ),
    ),
)
"""All of them. Another property is a row here, its field in LinkProperties and in `link_settings`; and its row in
`topologies.properties`, where graphs are to carry it.
"""

"""docs/benchmarks/: made from the record that results.json holds, tables as Markdown and plots as SVG."""

import os

from . import machine, plot, targets
from .fleet import TITLES
from .results import Result, save
from .sluice import TITLES as SLUICE_TITLES
from .workloads import GROUPS

NOTES = os.path.join(machine.ROOT, "Benchmarks", "notes.md")
METHOD = os.path.join(machine.ROOT, "Benchmarks", "method.md")

INTRODUCTION = """# Benchmarks

Written by `make bench` (`Benchmarks/run.py`); do not edit. What is compared is mostly the processor time of
one worker for one unit of work, because it hardly depends on how fast the load generator is and says how many
cores a load needs. Smaller is better.
"""

# Groups without processor time: name → (title, what stands below it, columns as (heading, metric, form)).
TABLES = {
    "latency": (
        "Latency at half of nginx's peak", None,
        [("p50 ms", "p50", "{:.3f}"), ("p99 ms", "p99", "{:.3f}"), ("p99.9 ms", "p999", "{:.3f}"),
         ("requests/s", "rate", "{:,.0f}"), ("core busy", "busy", "{:.2f}")]),
    "idle": (
        "Idle connections", "User-space memory of the proxy for one idle connection that has had one request.",
        [("bytes a connection", "bytes", "{:,.0f}"), ("connections", "connections", "{:,.0f}")]),
    "swap": (
        "Snapshot swap", "Time from when a request was due until its answer was there, in milliseconds; near: "
        "under way within 50 ms of the moment when the changed route was seen to answer; apply: from the start of "
        "`sluice apply` until 50 ms after that moment; without: in as much time without swaps.",
        [("swaps", "swaps", "{:.0f}"), ("near: requests", "near_count", "{:,.0f}"), ("max", "near_max", "{:.2f}"),
         ("p99.9", "near_p999", "{:.2f}"), ("over 1 ms", "near_late", "{:.0f}"),
         ("without: max", "near_quiet_max", "{:.2f}"), ("p99.9", "near_quiet_p999", "{:.2f}"),
         ("over 1 ms", "near_quiet_late", "{:.0f}"),
         ("apply: requests", "apply_count", "{:,.0f}"), ("max", "apply_max", "{:.2f}"),
         ("p99.9", "apply_p999", "{:.2f}"), ("over 1 ms", "apply_late", "{:.0f}"),
         ("without: max", "apply_quiet_max", "{:.2f}"), ("p99.9", "apply_quiet_p999", "{:.2f}"),
         ("over 1 ms", "apply_quiet_late", "{:.0f}"), ("apply to answer", "answered", "{:.0f}")]),
    "workers": (
        "Two workers against one", None,
        [("µs a request", "total", "{:.1f}"), ("user", "user", "{:.1f}"), ("system", "system", "{:.1f}"),
         ("requests/s", "rate", "{:,.0f}"), ("p99 ms", "p99", "{:.2f}"), ("cores busy", "busy", "{:.2f}")]),
    "instructions": (
        "Instructions, allocations and reference counts of one request",
        "Counted by callgrind in steady state; the kernel's work is not among them.",
        [("instructions", "instructions", "{:,.0f}"), ("malloc", "malloc", "{:.2f}"), ("free", "free", "{:.2f}"),
         ("retain/release", "retain", "{:.2f}"), ("Swift objects", "objects", "{:.2f}")]),
}


def write(folder, record):
    os.makedirs(folder, exist_ok=True)
    results = [Result(found) for found in record["workloads"].values()]
    parts = [INTRODUCTION, _targets(record), _file(NOTES)]
    for group in GROUPS:
        parts += _group(folder, group, [result for result in results if result.group == group.name])
    for name, (title, text, columns) in TABLES.items():
        parts += _plain_group(title, text, columns, [result for result in results if result.group == name])
    parts += [_lookup(result) for result in results if result.group == "lookup"]
    parts += [_file(METHOD), _machine(record, results)]
    with open(os.path.join(folder, "README.md"), "w") as file:
        file.write("\n".join(part for part in parts if part))
    save(folder, record)


def _file(path):
    with open(path) as file:
        return file.read().rstrip() + "\n"


def title_of(proxy):
    """`nginx/2`: nginx with two workers."""
    name, _, workers = proxy.partition("/")
    title = TITLES.get(name, name)
    return f"{title}, {workers} worker{'s' if workers != '1' else ''}" if workers else title


def measured_sluices(workloads):
    """The engines that took part, in their order; both when nothing did, so that the table has its columns."""
    found = {proxy for record in workloads.values() for proxy in record["samples"]}
    return [name for name in SLUICE_TITLES if name in found] or list(SLUICE_TITLES)


def _grid(headings, rows):
    lines = ["| " + " | ".join(headings) + " |", "|---|" + "---:|" * (len(headings) - 1)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def _targets(record):
    sluices = measured_sluices(record["workloads"])
    lines = ["## Targets", "", "| | at most | " + " | ".join(TITLES[name] for name in sluices) + " | |",
             "|---|---|" + "---|" * len(sluices) + "---|"]
    for work, asked, texts, verdict in targets.rows(record["workloads"], sluices):
        lines.append(f"| {work} | {asked} | " + " | ".join(texts[name] for name in sluices) + f" | {verdict} |")
    lines += ["", "Ratios are medians over the rounds of the ratio within the same round. Where a line stands for "
              "several workloads the worst is shown, by its name on the command line (`--only`)."]
    return "\n".join(lines) + "\n"


def ratio_rows(results, sluice):
    """(result, {peer: ratio}) of one engine."""
    for result in results:
        ratios = {peer: result.ratio(sluice, peer) for peer in result.samples if peer not in SLUICE_TITLES}
        yield result, {peer: ratio for peer, ratio in ratios.items() if ratio is not None}


def _group(folder, group, results):
    if not results:
        return []
    parts = [f"## {group.title}\n"]
    if any(result.median(proxy, "total") for result in results for proxy in result.samples):
        plot.write(os.path.join(folder, f"cpu-{group.name}.svg"), group, results)
        parts.append(f"![Processor time: {group.cost}](cpu-{group.name}.svg)\n")
    for sluice in measured_sluices({result.name: result.record for result in results}):
        parts.append(_ratios(results, sluice))
    parts += [_cpu_table(group, result) for result in results]
    return parts


def _ratios(results, sluice):
    rows = list(ratio_rows(results, sluice))
    peers = [name for name in TITLES if any(name in ratios for _, ratios in rows)]
    if not peers:
        return None
    lines = [f"{TITLES[sluice]}: processor time as a share of each peer's", ""]
    lines += _grid(["", *(TITLES[peer] for peer in peers)], [
        [result.title, *(f"{ratios[peer]:.2f}" if peer in ratios else "" for peer in peers)]
        for result, ratios in rows])
    return "\n".join(lines) + "\n"


def _cpu_table(group, result):
    columns = [(group.cost, "total", "{:.2f}" if group.scale == 1 else "{:.1f}"),
               ("user", "user", "{:.2f}" if group.scale == 1 else "{:.1f}"),
               ("system", "system", "{:.2f}" if group.scale == 1 else "{:.1f}"),
               (f"{group.units}/s", "rate", "{:,.2f}" if group.scale == 1 else "{:,.0f}")]
    if group.has_latency and any(result.median(proxy, "p99") is not None for proxy in result.samples):
        columns.append(("p99 ms", "p99", "{:.2f}"))
    return _table(result, [*columns, ("core busy", "busy", "{:.2f}")])


def _plain_group(title, text, columns, results):
    if not results:
        return []
    return [f"## {title}\n", text and text + "\n", *(_table(result, columns) for result in results)]


def _table(result, columns):
    """Medians; the first column shows the least and the most too when there were several rounds."""
    rows = []
    for proxy in result.samples:
        cells = []
        for number, (_, metric, form) in enumerate(columns):
            values, middle = result.values(proxy, metric), result.median(proxy, metric)
            cell = "" if middle is None else form.format(middle)
            if number == 0 and len(values) > 1 and min(values) != max(values):
                cell += f" ({form.format(min(values))}–{form.format(max(values))})"
            cells.append(cell)
        if not result.values(proxy, columns[0][1]):
            cells[0] = "failed"
        rows.append([title_of(proxy), *cells])
    lines = [f"### {result.title}", "", *_grid(["", *(heading for heading, _, _ in columns)], rows)]
    lines += _remarks(result)
    return "\n".join(lines) + "\n"


def _remarks(result):
    remarks = list(result.record.get("notes", []))
    remarks += [f"{title_of(proxy)} is left out: {why}." for proxy, why in result.left_out.items()]
    remarks += [f"{title_of(proxy)} failed: {text}" for proxy, text in result.errors.items()]
    return ["", *(f"- {remark}" for remark in remarks)] if remarks else []


def _lookup(result):
    lines = ["## Look-up in the route table", "", "Nanoseconds for one look-up, by `Benchmarks/lookup`.", ""]
    found = result.record.get("rows", [])
    counts = sorted({row["routes"] for row in found})
    times = {(row["pattern"], row["routes"]): row["nanoseconds"] for row in found}
    patterns = list(dict.fromkeys(row["pattern"] for row in found))
    if found:
        lines += _grid(["", *(f"{count:,} routes" for count in counts)], [
            [pattern, *(f"{times[pattern, count]:.0f}" if (pattern, count) in times else "" for count in counts)]
            for pattern in patterns])
    return "\n".join(lines + _remarks(result)) + "\n"


def _machine(record, results):
    lines = ["## Where and when", "", "| | |", "|---|---|"]
    rows = [*record["facts"].items(), *record["versions"].items(), ("Command", f"`{record['command']}`")]
    lines += [f"| {name} | {value} |" for name, value in rows]
    lines += ["", "Parts can be measured anew; this is when each was, and how. Load: the machine's load average "
              "just before.", "",
              *_grid(["", "date", "Sluice", "rounds × seconds", "load", "command"], [
                  [result.name, result.record["date"], result.record["sluice"],
                   f"{result.record['rounds']} × {result.record['seconds']}",
                   f"{result.record['load_average']:.2f}", f"`{result.record['command']}`"] for result in results])]
    return "\n".join(lines) + "\n"

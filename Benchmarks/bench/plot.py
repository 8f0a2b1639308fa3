"""A bar chart as SVG text."""

from html import escape

from .fleet import TITLES

WIDTH = 860
LABEL = 150
RIGHT = 60
BAR = 15
GAP = 4
GROUP = 26
COLORS = {
    "sluice-uring": "#0b7285", "sluice-epoll": "#1098ad", "nginx": "#5c940d", "haproxy": "#1864ab",
    "envoy": "#a61e4d", "nghttpx": "#e67700", "relay": "#868e96"}


def write(path, group, results):
    with open(path, "w") as file:
        file.write(bars(group, results))


def bars(group, results):
    """A part for each workload, one bar for each proxy: user time in full colour, system time lighter."""
    totals = [result.median(proxy, "total") for result in results for proxy in result.samples]
    scale = (WIDTH - LABEL - RIGHT) / max(total for total in totals if total)
    form = "{:.2f}" if group.scale == 1 else "{:.1f}"
    parts, y = [], 44
    for result in results:
        y += GROUP
        parts.append(f'<text x="12" y="{y - 8}" class="group">{escape(result.title)}</text>')
        for proxy in result.samples:
            total = result.median(proxy, "total")
            if not total:
                continue
            parts += _row(y, proxy, result, total, scale, form)
            y += BAR + GAP
    height = y + 14
    title = f"Processor time of one worker, {group.cost}"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" font-family="sans-serif" font-size="12">\n'
        "<style>text{fill:#212529}.title{font-size:15px;font-weight:bold}.group{font-weight:bold}"
        ".name{text-anchor:end}</style>\n"
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n'
        f'<text x="12" y="22" class="title">{escape(title)}</text>\n'
        '<text x="12" y="40">full colour: user, light: system; medians; smaller is better</text>')
    return "\n".join([head, *parts, "</svg>", ""])


def _row(y, proxy, result, total, scale, form):
    user, system = result.median(proxy, "user"), result.median(proxy, "system")
    # Medians of parts do not add up to the median of the whole: the bar is as long as the whole.
    user = total * user / (user + system) if user + system > 0 else 0
    color = COLORS.get(proxy, "#495057")
    middle = y + BAR - 3.5
    return [
        f'<text x="{LABEL - 8}" y="{middle}" class="name">{escape(TITLES.get(proxy, proxy))}</text>',
        _bar(LABEL, y, user * scale, color, 1),
        _bar(LABEL + user * scale, y, (total - user) * scale, color, 0.45),
        f'<text x="{LABEL + total * scale + 6:.1f}" y="{middle}">{form.format(total)}</text>']


def _bar(x, y, width, color, opacity):
    place = f'x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}"'
    return f'<rect {place} fill="{color}" fill-opacity="{opacity}"/>'

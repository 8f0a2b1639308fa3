"""A bar chart as SVG text."""

from html import escape

WIDTH = 860
LABEL = 150
RIGHT = 60
BAR = 15
GAP = 4
GROUP = 26
COLORS = {
    "sluice": "#0b7285", "nginx": "#5c940d", "haproxy": "#1864ab", "envoy": "#a61e4d", "relay": "#868e96"}


def bars(results, titles):
    """A group of bars for each workload, one bar for each proxy: user time in full colour, system time lighter."""
    most = max(result.median(proxy, "total") for result in results for proxy in result.samples)
    scale = (WIDTH - LABEL - RIGHT) / most
    parts, y = [], 44
    for result in results:
        y += GROUP
        parts.append(f'<text x="12" y="{y - 8}" class="group">{escape(result.workload.title)}</text>')
        for proxy in result.samples:
            user, system, total = (result.median(proxy, name) for name in ("user", "system", "total"))
            # Medians of parts do not add up to the median of the whole: the bar is as long as the whole.
            user = total * user / (user + system)
            system = total - user
            color = COLORS.get(proxy, "#495057")
            middle = y + BAR - 3.5
            parts.append(f'<text x="{LABEL - 8}" y="{middle}" class="name">{escape(titles[proxy])}</text>')
            parts.append(_bar(LABEL, y, user * scale, color, 1))
            parts.append(_bar(LABEL + user * scale, y, system * scale, color, 0.45))
            end = LABEL + (user + system) * scale + 6
            parts.append(f'<text x="{end:.1f}" y="{middle}">{total:.1f}</text>')
            y += BAR + GAP
    height = y + 14
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" font-family="sans-serif" font-size="12">\n'
        "<style>text{fill:#212529}.title{font-size:15px;font-weight:bold}.group{font-weight:bold}"
        ".name{text-anchor:end}</style>\n"
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n'
        '<text x="12" y="22" class="title">Processor time of one worker per proxied request, µs</text>\n'
        '<text x="12" y="40">full colour: user, light: system; medians; smaller is better</text>')
    return "\n".join([head, *parts, "</svg>", ""])


def _bar(x, y, width, color, opacity):
    place = f'x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}"'
    return f'<rect {place} fill="{color}" fill-opacity="{opacity}"/>'

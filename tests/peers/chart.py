"""chart - line charts with logarithmic axes, as SVG, without any library."""
import math

COLOURS = ['#1b6ca8', '#c0392b', '#2e8b57', '#8e44ad', '#d68910', '#566573']
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 320, 64, 118, 24, 40


def decades(values):
    low = math.floor(math.log10(min(values)) + 1e-9)
    high = math.ceil(math.log10(max(values)) - 1e-9)
    return low, max(high, low + 1)


def label(power):
    return '%g' % 10 ** power if power < 6 else '%d M' % 10 ** (power - 6)


def panel(at, name, series, unit):
    xs = [x for _, points in series for x, _ in points]
    ys = [max(y, 1e-3) for _, points in series for _, y in points]
    (x0, x1), (y0, y1) = decades(xs), decades(ys)
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    px = lambda x: at + LEFT + (math.log10(x) - x0) / (x1 - x0) * wide
    py = lambda y: TOP + high - (math.log10(max(y, 1e-3)) - y0) / (y1 - y0) * high
    out = []
    for p in range(x0, x1 + 1):
        out.append('<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#ddd"/>' % (px(10**p), TOP, px(10**p), TOP + high))
        out.append('<text x="%.1f" y="%d" text-anchor="middle">%s</text>' % (px(10**p), TOP + high + 16, label(p)))
    for p in range(y0, y1 + 1):
        out.append('<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/>' % (at + LEFT, py(10**p), at + LEFT + wide, py(10**p)))
        out.append('<text x="%d" y="%.1f" text-anchor="end">%s</text>' % (at + LEFT - 6, py(10**p) + 4, label(p)))
    out.append('<text x="%.1f" y="%d" text-anchor="middle">%s</text>' % (at + LEFT + wide / 2, HEIGHT - 6, name))
    out.append('<text x="%d" y="14">%s</text>' % (at + 8, unit))
    ends = []
    for colour, (title, points) in zip(COLOURS, series):
        if not points:
            continue
        line = ' '.join('%.1f,%.1f' % (px(x), py(y)) for x, y in points)
        out.append('<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>' % (line, colour))
        out += ['<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (px(x), py(y), colour) for x, y in points]
        ends.append([py(points[-1][1]), title, colour])
    below = 0
    for y, title, colour in sorted(ends):                   # labels that would touch move down
        below = max(y, below + 13)
        out.append('<text x="%d" y="%.1f" fill="%s">%s</text>' % (at + LEFT + wide + 8, below + 4, colour, title))
    return out


def svg(panels, unit):
    """panels: [(name of the x axis, [(title, [(x, y)])])]"""
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">' % (WIDTH * len(panels), HEIGHT),
           '<rect width="100%" height="100%" fill="white"/>']
    for i, (name, series) in enumerate(panels):
        out += panel(i * WIDTH, name, series, unit)
    return '\n'.join(out + ['</svg>']) + '\n'

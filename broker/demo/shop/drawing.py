"""
Pictures of tyres, drawn by arithmetic: no photographs to license, and each model shows its own tread.

A tyre stands three quarters towards us: two equal ellipses, the far one to the left, joined by the tread. A
point of the tread is (angle around the wheel, 0..1 across it), so every groove is a line through such
points.
"""

from math import cos, pi, sin

from .catalogue import Tyre

_FAR_X, _NEAR_X, _Y = 132.0, 246.0, 200.0
_RX, _RY = 112.0, 172.0
_HOLE = 0.585


def draw_tyre(tyre: Tyre) -> str:
    """An SVG picture of *tyre*, 400 by 400, transparent background."""
    tread = "".join(_tread(tyre))
    parts = [
        _DEFINITIONS,
        '<ellipse cx="196" cy="376" rx="158" ry="12" fill="#0a1a26" opacity=".25"/>',
        '<g mask="url(#hollow)">',
        f'<path d="{_outline()}" fill="url(#tread)"/>',
        f'<clipPath id="band"><path d="{_outline()}"/></clipPath><g clip-path="url(#band)">{tread}</g>',
        _sidewall(tyre),
        "</g>",
    ]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 400" width="400" height="400">'
        + "".join(parts)
        + "</svg>"
    )


def _point(angle: float, across: float) -> tuple[float, float]:
    """
    Where on the picture a point of the tread is; *angle* in turns, 0.25 at the top, 0.5 at the far left.
    """
    x = _FAR_X + (_NEAR_X - _FAR_X) * across
    # The shoulders are rounded: towards both edges the tread falls off a little.
    fall = 1 - 0.045 * abs(2 * across - 1) ** 3
    return x + _RX * fall * cos(2 * pi * angle), _Y - _RY * fall * sin(2 * pi * angle)


def _line(points: list[tuple[float, float]], width: float, colour: str = "#0b1116", opacity: float = 1) -> str:
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in (_point(*point) for point in points))
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}" '
        f'stroke-linecap="round" stroke-linejoin="round" opacity="{opacity}"/>'
    )


def _outline() -> str:
    left = [_point(0.25 + step / 120, 0.0) for step in range(61)]
    right = [_point(0.75 + step / 120, 1.0) for step in range(61)]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in left + right) + "Z"


def _ring(across: float, width: float) -> str:
    """A groove all the way around the tread."""
    return _line([(0.24 + step / 115, across) for step in range(61)], width)


def _tread(tyre: Tyre) -> list[str]:
    draw = {"studded": _studded, "all-season": _blocks}.get(tyre.season, _quiet if tyre.for_electric else _arrows)
    return draw()


def _angles(count: int) -> list[float]:
    return [0.245 + 0.51 * step / count for step in range(count + 1)]


def _arrows() -> list[str]:
    """A directional winter tread: arrows with fine sipes between them."""
    drawn = [_line([(a + 0.022, 0.02), (a - 0.012, 0.5), (a + 0.022, 0.98)], 3.4) for a in _angles(26)]
    drawn += [_line([(a + 0.030, 0.05), (a + 0.012, 0.36)], 1.0, "#05080b", 0.75) for a in _angles(52)] + [
        _line([(a + 0.012, 0.64), (a + 0.030, 0.95)], 1.0, "#05080b", 0.75) for a in _angles(52)
    ]
    return [*drawn, _ring(0.27, 3.2), _ring(0.73, 3.2)]


def _studded() -> list[str]:
    """Coarser arrows with steel studs."""
    drawn = [_line([(a + 0.026, 0.02), (a - 0.012, 0.5), (a + 0.026, 0.98)], 4.6) for a in _angles(20)]
    drawn += [_ring(0.36, 3.0), _ring(0.64, 3.0)]
    for number, angle in enumerate(_angles(40)):
        across = (0.13, 0.86, 0.24, 0.5, 0.76)[number % 5]
        x, y = _point(angle + 0.004, across)
        drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4" fill="#10181f"/>')
        drawn.append(f'<circle cx="{x - 0.4:.1f}" cy="{y - 0.5:.1f}" r="2.1" fill="#dfe8ee"/>')
    return drawn


def _quiet() -> list[str]:
    """An asymmetric tread with closed shoulders, for quiet electric cars."""
    drawn = [_line([(a, 0.30), (a + 0.020, 0.66)], 2.2) for a in _angles(34)]
    drawn += [_line([(a + 0.004, 0.03), (a, 0.20)], 1.6) for a in _angles(34)]
    drawn += [_line([(a + 0.014, 0.78), (a + 0.024, 0.97)], 2.6) for a in _angles(24)]
    return [*drawn, _ring(0.25, 4.2), _ring(0.50, 3.4), _ring(0.72, 4.6)]


def _blocks() -> list[str]:
    """Sturdy blocks for all seasons."""
    drawn = [_line([(a + 0.012, 0.03), (a, 0.25)], 3.2) for a in _angles(22)]
    drawn += [_line([(a, 0.75), (a + 0.012, 0.97)], 3.2) for a in _angles(22)]
    drawn += [_line([(a + 0.008, 0.29), (a - 0.008, 0.48), (a + 0.008, 0.71)], 2.2) for a in _angles(28)]
    return [*drawn, _ring(0.27, 4.4), _ring(0.5, 3.6), _ring(0.73, 4.4)]


def _sidewall(tyre: Tyre) -> str:
    """The side turned to us: rubber, a few raised rings, and the lettering that real tyres carry."""

    def ellipse(scale: float, more: str) -> str:
        return f'<ellipse cx="{_NEAR_X}" cy="{_Y}" rx="{_RX * scale:.1f}" ry="{_RY * scale:.1f}" {more}/>'

    inside = "#3b7f96" if tyre.for_electric else "#1c262e"
    return "".join(
        (
            ellipse(0.955, 'fill="url(#wall)"'),
            ellipse(0.90, 'fill="none" stroke="#48555f" stroke-width="1.4" opacity=".8"'),
            ellipse(0.70, 'fill="none" stroke="#0a0f13" stroke-width="2" opacity=".7"'),
            ellipse(0.665, 'fill="none" stroke="#56646f" stroke-width="1.6" opacity=".65"'),
            _lettering("upper", _arc(0.755, over=True), tyre.model.upper(), 20),
            _lettering("lower", _arc(0.845, over=False), f"{tyre.dimension}  {tyre.load_speed_index}", 13),
            ellipse(_HOLE, 'fill="url(#inside)"'),
            f'<g clip-path="url(#hole)"><ellipse cx="{_FAR_X + 34}" cy="{_Y}" rx="{_RX * 0.80:.1f}" '
            f'ry="{_RY * 0.78:.1f}" fill="none" stroke="{inside}" stroke-width="26" opacity=".75"/></g>',
            ellipse(_HOLE, 'fill="none" stroke="#5c6a75" stroke-width="2.4" opacity=".8"'),
        )
    )


def _lettering(name: str, path: str, text: str, size: int) -> str:
    return (
        f'<path id="{name}" d="{path}" fill="none"/><text font-family="Arial Narrow, Roboto Condensed, Arial, '
        f'sans-serif" font-size="{size}" font-weight="700" letter-spacing="1.5" fill="#cfd9e0" opacity=".78">'
        f'<textPath href="#{name}" startOffset="50%" text-anchor="middle">{text}</textPath></text>'
    )


def _arc(scale: float, *, over: bool) -> str:
    """
    Half an ellipse on the side wall, from left to right over or under the hole, for lettering to follow.
    """
    rx, ry = _RX * scale, _RY * scale
    return f"M{_NEAR_X - rx:.1f} {_Y}A{rx:.1f} {ry:.1f} 0 0 {int(over)} {_NEAR_X + rx:.1f} {_Y}"


def _hole(x: float) -> str:
    return f'<ellipse cx="{x}" cy="{_Y}" rx="{_RX * _HOLE:.1f}" ry="{_RY * _HOLE:.1f}"/>'


_DEFINITIONS = f"""<defs>
<linearGradient id="tread" x1="0" y1="0" x2="1" y2="0">
<stop offset="0" stop-color="#1a232a"/><stop offset=".3" stop-color="#3a464f"/>
<stop offset=".62" stop-color="#2a343c"/><stop offset="1" stop-color="#161d23"/></linearGradient>
<linearGradient id="wall" x1="0" y1="0" x2=".7" y2="1">
<stop offset="0" stop-color="#414d57"/><stop offset=".45" stop-color="#262f37"/>
<stop offset="1" stop-color="#12181d"/></linearGradient>
<linearGradient id="inside" x1="0" y1="0" x2="1" y2="0">
<stop offset="0" stop-color="#0c1115"/><stop offset="1" stop-color="#222c34"/></linearGradient>
<clipPath id="hole">{_hole(_NEAR_X)}</clipPath>
<mask id="hollow"><rect width="400" height="400" fill="#fff"/>
<g clip-path="url(#hole)">{_hole(_FAR_X + 22)}</g></mask></defs>"""

"""How the HTML report looks: on a screen, on a phone, on paper. Colours are told apart without red and green alone."""

from __future__ import annotations

COLOURS = {
    "healthy": "#4a9d6f",
    "warning": "#e6c229",
    "degraded": "#e8871e",
    "failed": "#b3263f",
    "unknown": "#7d6b9e",
}
OTHER = "#888888"

CSS = """
:root { --ink: #1d2430; --soft: #5c6675; --line: #d8dde5; --paper: #ffffff; --shade: #f4f6f9; --mark: #b3263f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7eaf0; --soft: #a5afbe; --line: #3a4352; --paper: #161b23; --shade: #1f2630; --mark: #ff7d92; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 70rem; background: var(--paper); color: var(--ink);
  font: 16px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; padding-bottom: .2rem; border-bottom: 1px solid var(--line); }
p, li { color: var(--soft); max-width: 48rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .6rem; margin: 1rem 0; }
.figures div { display: flex; flex-direction: column-reverse; justify-content: flex-end; padding: .6rem .8rem;
  border-radius: .4rem; background: var(--shade); }
dd { margin: 0; font-size: 1.5rem; font-weight: 600; }
dt { color: var(--soft); font-size: .85rem; }
.wide { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .2rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem .9rem .25rem 0; border-top: 1px solid var(--line); }
thead th, thead td { border-top: 0; color: var(--soft); font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 500; }
.swatch { display: inline-block; width: .75em; height: .75em; margin-right: .4em; border-radius: .15em; }
svg.plot { width: 100%; height: auto; max-height: 16rem; }
svg.row { width: 10rem; height: .9rem; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
.grid { stroke: var(--line); stroke-width: 1; }
.limit { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 4 3; }
.bar { fill: #4a7fb5; }
.over { fill: var(--mark); }
.range { fill: var(--line); }
.dot { fill: var(--ink); }
.dot.over { fill: var(--mark); }
@media (max-width: 40rem) { body { padding: .6rem; font-size: 15px; } th, td { padding-right: .6rem; } }
@media print {
  :root { --ink: #000; --soft: #333; --line: #bbb; --paper: #fff; --shade: #fff; --mark: #b3263f; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .wide { overflow: visible; }
  table { font-size: 8pt; }
  section, tr, svg { break-inside: avoid; }
  section:has(tbody tr:nth-child(12)) { break-inside: auto; }
  .figures div { border: 1px solid var(--line); }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

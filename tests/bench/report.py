"""From figures to medians, ratios, goals: a table and JSON."""
import json
import os
import statistics
import time

from place import Trouble, sh
from systems import REPO, SYSTEMS
from workloads import NATIVE, PEER


def machine():
    told = {}
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        told["processor"] = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), "unknown")
    with open("/proc/meminfo", encoding="utf-8") as f:
        told["memory MiB"] = int(f.readline().split()[1]) // 1024
    with open("/etc/os-release", encoding="utf-8") as f:
        told["system"] = next((line.split("=", 1)[1].strip().strip('"') for line in f if line.startswith("PRETTY_NAME")), "unknown")
    return {"cores": len(os.sched_getaffinity(0)), "kernel": os.uname().release, **told}


def commit():
    """As git tells it, with a plus where files differ; unknown in a tarball."""
    try:
        git = ["git", "-c", "safe.directory=*", "-C", REPO]
        return sh(*git, "rev-parse", "HEAD").strip() + ("+" if sh(*git, "status", "--porcelain").strip() else "")
    except (Trouble, OSError):
        return "unknown"


def median(cell):
    return statistics.median(cell["figures"]) if cell and cell["figures"] and cell["kind"] != "wrong" else None


def spread(cell):
    """How far its figures lie apart, as a part of the median."""
    return (max(cell["figures"]) - min(cell["figures"])) / median(cell) if median(cell) else None


class Table:
    def __init__(self, results, rows, places, names, scale):
        self.results, self.places, self.names, self.scale = results, places, names, scale
        self.rows = [row for row, asked in rows if asked]

    def cell(self, place, row, system):
        return self.results.cells.get((place, row, system))

    def better_peer(self, place, row):
        peers = [n for n in self.names if SYSTEMS[n].peer and median(self.cell(place, row, n))]
        return max(peers, key=lambda n: median(self.cell(place, row, n)), default=None)

    def ratio(self, ours, theirs):
        return median(ours) / median(theirs) if median(ours) and median(theirs) else None

    def verdict(self, place, row):
        """Goal, ratio, "yes", "no"; with "?" where the figures of single rounds say otherwise, there are fewer than three, or sizes are others."""
        goal = row.goal
        if not goal or goal.place != place or "tenantfs" not in self.names:
            return None, None, None
        ours = self.cell(place, row.name, "tenantfs")
        against = {PEER: self.better_peer(place, row.name), NATIVE: "native"}.get(goal.against)
        theirs = self.cell(place, row.name, against) if goal.against in (PEER, NATIVE) else self.cell(place, goal.against, "tenantfs")
        ratio = self.ratio(ours, theirs)
        if ratio is None:
            return goal, None, "not measured"
        reached = ratio >= goal.factor
        sure = self.scale == 1 and len(ours["figures"]) >= 3 and all((r >= goal.factor) == reached for r in (
            min(ours["figures"]) / max(theirs["figures"]), max(ours["figures"]) / min(theirs["figures"])))
        return goal, ratio, ("yes" if reached else "no") + ("" if sure else "?")

    def line(self, place, row):
        ours = self.cell(place, row.name, "tenantfs")
        words = [row.name, row.unit]
        for name in self.names:
            cell = self.cell(place, row.name, name)
            if cell is None:
                words.append("-")
            elif cell["kind"] == "wrong":
                words.append("WRONG")
            elif median(cell) is None:
                words.append({"missing": "not installed", None: "-"}.get(cell["kind"], "failed"))
            else:
                words.append(number(median(cell)))
        for name in (self.better_peer(place, row.name), "native", "passthrough"):
            ratio = self.ratio(ours, self.cell(place, row.name, name)) if name else None
            words.append(f"{ratio:.2f}" if ratio else "-")
        goal, _, reached = self.verdict(place, row)
        limit = "-" if not goal else f"{goal.factor:g}" + {PEER: "", NATIVE: " of native"}.get(goal.against, f" of \"{goal.against}\"")
        spreads = [spread(self.cell(place, row.name, n)) or 0 for n in self.names]
        return words + [limit, reached or "-", f"{max(spreads, default=0) * 100:.0f} %"]

    def text(self):
        """Markdown."""
        out = []
        for place in self.places:
            lines = [["workload", "", *self.names, "÷ better peer", "÷ native", "÷ passthrough", "goal", "reached", "spread"]]
            lines += [self.line(place, row) for row in self.rows]
            widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
            lines.insert(1, ["-" * w for w in widths])
            out.append(f"\nOn {place}:\n")
            out += ["| " + " | ".join(w.ljust(n) for w, n in zip(line, widths)) + " |" for line in lines]
        return "\n".join(out)

    def troubles(self):
        """Sentences; what befell many rows alike is said once."""
        told = {}
        for (place, row, system), cell in self.results.cells.items():
            if cell["trouble"]:
                told.setdefault((place, system, cell["trouble"], cell["kind"]), []).append(row)
        return [f"{'WRONG: ' if kind == 'wrong' else ''}{system} on {place}, {rows[0]}{f' and {len(rows) - 1} more' if rows[1:] else ''}: {trouble}"
                for (place, system, trouble, kind), rows in told.items()]

    def json(self, path, about):
        units = {row.name: row.unit for row in self.rows}
        results = [{"place": place, "row": row, "system": system, "unit": units[row], "median": median(cell), "spread": spread(cell), **cell}
                   for (place, row, system), cell in self.results.cells.items() if row in units]
        verdicts = []
        for place in self.places:
            for row in self.rows:
                goal, ratio, reached = self.verdict(place, row)
                ours, peer = self.cell(place, row.name, "tenantfs"), self.better_peer(place, row.name)
                verdicts.append({"place": place, "row": row.name, "better peer": peer,
                                 **{f"ratio to {n}": self.ratio(ours, self.cell(place, row.name, s)) for n, s in
                                    (("better peer", peer), ("native", "native"), ("passthrough", "passthrough"))},
                                 "goal": goal and {"factor": goal.factor, "against": goal.against}, "ratio of goal": ratio, "reached": reached})
        with open(path + ".new", "w", encoding="utf-8") as f:
            json.dump({"format": 1, **about, "results": results, "verdicts": verdicts}, f, indent=1)
            f.write("\n")
        os.rename(path + ".new", path)


def number(value):
    """Three digits that count."""
    if value >= 1e6:
        return f"{value / 1e6:.2f}M"
    if value >= 1e5:
        return f"{value / 1e3:.0f}k"
    if value >= 1e4:
        return f"{value / 1e3:.1f}k"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

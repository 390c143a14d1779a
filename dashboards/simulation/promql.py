"""Evaluates rules over a whole simulation at once: each expression is a matrix of series by steps.

promtool evaluates one step after the other and takes an hour for a month of eleven applications; this takes
seconds. `agreement.py` shows that both fire the same alerts at the same steps.

Known limits, none of which the rules meet: a value that is not a number is the same as no value; offsets and ranges are
multiples of the step; no subqueries; a series has at most one sample a step.
"""

import dataclasses
import re

import numpy as np
import promql_parser as promql

SET_OPERATORS = ("and", "or", "unless")
COMPARISONS = {
    "<": np.less, ">": np.greater, "<=": np.less_equal, ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal,
}
ARITHMETIC = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "^": np.power, "%": np.fmod}
Labels = tuple[tuple[str, str], ...]


@dataclasses.dataclass
class Vector:
    """Series by their labels (without a name), and their values: a row each, nan where there is none."""

    labels: list[Labels]
    values: np.ndarray


def merged(labels: list[Labels], values: np.ndarray) -> Vector:
    """Rows of the same labels made one; at no step do two of them have a value."""
    rows: dict[Labels, int] = {}
    for own in labels:
        rows.setdefault(own, len(rows))
    if len(rows) == len(labels):
        return Vector(labels, values)
    joined = np.full((len(rows), values.shape[1]), np.nan)
    for own, line in zip(labels, values):
        row = joined[rows[own]]
        np.copyto(row, line, where=np.isnan(row))
    return Vector(list(rows), joined)


def seconds(duration) -> float:
    """A duration of promql_parser."""
    return duration.total_seconds()


class Windows:
    """The samples between two edges before each step."""

    def __init__(self, values: np.ndarray, length: int, offset: int, left_open: bool):
        self.values = values
        steps = values.shape[1]
        self.last = np.arange(steps) - offset
        self.first = self.last - length + (1 if left_open else 0)
        self.length = length
        self.offset = offset
        self.steps = steps

    def _sums(self, values: np.ndarray) -> np.ndarray:
        total = np.concatenate([np.zeros((values.shape[0], 1)), np.cumsum(values, axis=1)], axis=1)
        high = np.clip(self.last + 1, 0, self.steps)
        low = np.clip(self.first, 0, self.steps)
        return total[:, high] - total[:, low]

    def count(self) -> np.ndarray:
        """How many samples."""
        return self._sums((~np.isnan(self.values)).astype(float))

    def _where_any(self, found: np.ndarray) -> np.ndarray:
        return np.where(self.count() > 0, found, np.nan)

    def sum(self) -> np.ndarray:
        """Their sum."""
        return self._where_any(self._sums(np.nan_to_num(self.values)))

    def extreme(self, function, worst: float) -> np.ndarray:
        """Their least or most, by doubling windows."""
        filled = np.where(np.isnan(self.values), worst, self.values)
        width = int(self.last[0] - self.first[0]) + 1
        span = 1
        while span * 2 <= width:
            shifted = np.full_like(filled, worst)
            shifted[:, span:] = filled[:, : max(self.steps - span, 0)]
            filled = function(filled, shifted)
            span *= 2
        # Two windows that overlap cover the whole.
        rest = width - span
        shifted = np.full_like(filled, worst)
        shifted[:, rest:] = filled[:, : max(self.steps - rest, 0)]
        filled = function(filled, shifted)
        moved = np.full_like(filled, worst)
        moved[:, self.offset :] = filled[:, : max(self.steps - self.offset, 0)]
        return np.where(np.isinf(moved), np.nan, moved)

    def latest(self) -> np.ndarray:
        """The last of them."""
        index = np.where(np.isnan(self.values), -1, np.arange(self.steps))
        index = np.maximum.accumulate(index, axis=1)[:, np.clip(self.last, 0, self.steps - 1)]
        inside = (index >= np.maximum(self.first, 0)) & (self.last >= 0)
        return np.where(inside, np.take_along_axis(self.values, np.maximum(index, 0), axis=1), np.nan)

    def quantile(self, q: float) -> np.ndarray:
        """Quantiles; windows with the same samples are looked at once."""
        columns = np.flatnonzero((~np.isnan(self.values)).any(axis=0))
        low = np.searchsorted(columns, self.first)
        high = np.searchsorted(columns, self.last, side="right")
        found = np.full(self.values.shape, np.nan)
        pairs, where = np.unique(np.stack([low, high]), axis=1, return_inverse=True)
        where = where.ravel()
        order = np.argsort(where, kind="stable")
        edges = np.searchsorted(where[order], np.arange(pairs.shape[1] + 1))
        for index, (begin, end) in enumerate(pairs.T):
            if end <= begin:
                continue
            own = np.sort(self.values[:, columns[begin:end]], axis=1)
            count = (~np.isnan(own)).sum(axis=1)
            rank = q * np.maximum(count - 1, 0)
            below = np.floor(rank).astype(int)
            above = np.minimum(below + 1, np.maximum(count - 1, 0))
            weight = rank - below
            rows = np.arange(len(own))
            value = own[rows, below] * (1 - weight) + own[rows, above] * weight
            found[:, order[edges[index] : edges[index + 1]]] = np.where(count > 0, value, np.nan)[:, None]
        return found

    def increase(self) -> np.ndarray:
        """As Prometheus extrapolates it, in steps."""
        values, steps = self.values, self.steps
        there = ~np.isnan(values)
        index = np.arange(steps)
        before = np.maximum.accumulate(np.where(there, index, -1), axis=1)
        after = np.minimum.accumulate(np.where(there, index, steps)[:, ::-1], axis=1)[:, ::-1]
        previous = np.concatenate([np.full((len(values), 1), -1), before[:, :-1]], axis=1)
        held = np.take_along_axis(values, np.maximum(previous, 0), axis=1)
        change = np.where(values < held, values, values - held)
        grown = np.cumsum(np.where(there & (previous >= 0), change, 0), axis=1)
        end = np.clip(self.last, 0, steps - 1)
        start = np.clip(self.first, 0, steps - 1)
        last, first = before[:, end], after[:, start]
        good = (last > first) & (first < steps) & (self.last >= 0) & (first >= self.first) & (first <= self.last)
        last, first = np.clip(last, 0, steps - 1), np.clip(first, 0, steps - 1)
        result = np.take_along_axis(grown, last, axis=1) - np.take_along_axis(grown, first, axis=1)
        sampled = np.where(good, last - first, 1).astype(float)
        count = self.count()
        average = sampled / np.maximum(count - 1, 1)
        to_start = first - (self.last - self.length)[None, :].astype(float)
        to_end = self.last[None, :] - last.astype(float)
        begun = np.take_along_axis(values, first, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            to_zero = np.where((result > 0) & (begun >= 0), sampled * (begun / result), np.inf)
        to_start = np.minimum(to_start, to_zero)
        threshold = average * 1.1
        whole = sampled + np.where(to_start < threshold, to_start, average / 2)
        whole += np.where(to_end < threshold, to_end, average / 2)
        return np.where(good, result * (whole / sampled), np.nan)


class Engine:
    """Series over a grid of steps, and what queries make of them."""

    def __init__(self, steps: int, step: int, left_open: bool = False):
        self.steps = steps
        self.step = step
        self.left_open = left_open
        self.series: dict[str, Vector] = {}

    def put(self, name: str, vector: Vector) -> None:
        """Adds series; a name may be filled by several rules."""
        old = self.series.get(name)
        if old is None:
            self.series[name] = vector
        elif vector.labels:
            self.series[name] = merged(old.labels + vector.labels, np.concatenate([old.values, vector.values]))

    def empty(self) -> Vector:
        """No series."""
        return Vector([], np.empty((0, self.steps)))

    def evaluate(self, text: str):
        """A query: a vector, or an array where it is a scalar."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._walk(promql.parse(text))

    def _grid(self, duration) -> int:
        count, rest = divmod(seconds(duration), self.step)
        if rest:
            raise ValueError(f"{duration} is not on the grid")
        return int(count)

    def _offset(self, selector) -> int:
        return 0 if selector.offset is None else self._grid(selector.offset)

    def _select(self, selector) -> Vector:
        found = self.series.get(selector.name)
        if found is None:
            return self.empty()
        rows = range(len(found.labels))
        for matcher in selector.matchers.matchers:
            pattern = re.compile(matcher.value) if "Re" in str(matcher.op) else None
            kept = []
            for row in rows:
                value = dict(found.labels[row]).get(matcher.name, "")
                equal = bool(pattern.fullmatch(value)) if pattern else value == matcher.value
                if equal != ("Not" in str(matcher.op)):
                    kept.append(row)
            rows = kept
        rows = list(rows)
        if len(rows) == len(found.labels):
            return found
        return Vector([found.labels[row] for row in rows], found.values[rows])

    def _walk(self, expression):
        if isinstance(expression, promql.NumberLiteral):
            return np.full(self.steps, expression.val)
        if isinstance(expression, promql.StringLiteral):
            return expression.val
        if isinstance(expression, promql.ParenExpr):
            return self._walk(expression.expr)
        if isinstance(expression, promql.UnaryExpr):
            inner = self._walk(expression.expr)
            return Vector(inner.labels, -inner.values) if isinstance(inner, Vector) else -inner
        if isinstance(expression, promql.VectorSelector):
            found, offset = self._select(expression), self._offset(expression)
            if not offset:
                return found
            values = np.full_like(found.values, np.nan)
            values[:, offset:] = found.values[:, : max(self.steps - offset, 0)]
            return Vector(found.labels, values)
        if isinstance(expression, promql.AggregateExpr):
            return self._aggregate(expression)
        if isinstance(expression, promql.Call):
            return self._call(expression)
        if isinstance(expression, promql.BinaryExpr):
            return self._binary(expression)
        raise NotImplementedError(str(expression))

    def _call(self, expression):
        name, arguments = expression.func.name, expression.args
        if name == "time":
            return np.arange(self.steps) * float(self.step)
        if name == "vector":
            return Vector([()], self._walk(arguments[0])[None, :])
        selectors = [own for own in arguments if isinstance(own, promql.MatrixSelector)]
        if selectors:
            selector = selectors[0]
            found = self._select(selector.vector_selector)
            if not found.labels:
                return found
            windows = Windows(
                found.values, self._grid(selector.range), self._offset(selector.vector_selector), self.left_open
            )
            return Vector(found.labels, self._over_time(name, windows, arguments))
        values = [self._walk(own) for own in arguments]
        vector = values[0]
        if name == "label_replace":
            return self._label_replace(*values)
        scalars = values[1:]
        function = {
            "clamp_min": np.maximum, "clamp_max": np.minimum, "sqrt": np.sqrt, "abs": np.abs, "ln": np.log, "exp": np.exp,
            "clamp": lambda own, low, high: np.minimum(np.maximum(own, low), high),
        }[name]
        return Vector(vector.labels, function(vector.values, *scalars))

    def _over_time(self, name: str, windows: Windows, arguments) -> np.ndarray:
        if name in ("increase", "rate"):
            found = windows.increase()
            return found if name == "increase" else found / (windows.length * self.step)
        if name == "sum_over_time":
            return windows.sum()
        if name == "avg_over_time":
            return windows.sum() / windows.count()
        if name == "count_over_time":
            return windows._where_any(windows.count())
        if name == "last_over_time":
            return windows.latest()
        if name == "min_over_time":
            return windows.extreme(np.minimum, np.inf)
        if name == "max_over_time":
            return windows.extreme(np.maximum, -np.inf)
        if name == "quantile_over_time":
            return windows.quantile(arguments[0].val)
        if name == "stddev_over_time":
            mean = windows.sum() / windows.count()
            squares = Windows(windows.values**2, windows.length, windows.offset, self.left_open)
            return np.sqrt(np.maximum(squares.sum() / windows.count() - mean**2, 0))
        raise NotImplementedError(name)

    def _label_replace(self, vector, target, replacement, source, pattern) -> Vector:
        pattern = re.compile(pattern)
        labels = []
        for own in vector.labels:
            found = pattern.fullmatch(dict(own).get(source, ""))
            if found:
                value = re.sub(r"\$(\d+)", lambda part: found[int(part[1])] or "", replacement)
                own = tuple(sorted((dict(own) | {target: value}).items())) if value else _without(own, {target})
            labels.append(own)
        return merged(labels, vector.values)

    def _aggregate(self, expression) -> Vector:
        inner = self._walk(expression.expr)
        modifier = expression.modifier
        if modifier is None:
            keys = [() for _ in inner.labels]
        elif modifier.type == promql.AggModifierType.By:
            keys = [_only(own, set(modifier.labels)) for own in inner.labels]
        else:
            keys = [_without(own, set(modifier.labels)) for own in inner.labels]
        if not keys:
            return self.empty()
        groups: dict[Labels, list[int]] = {}
        for row, key in enumerate(keys):
            groups.setdefault(key, []).append(row)
        order = [row for rows in groups.values() for row in rows]
        begins = np.cumsum([0] + [len(rows) for rows in groups.values()])[:-1]
        values = inner.values[order]
        there = ~np.isnan(values)
        count = np.add.reduceat(there, begins, axis=0, dtype=float)
        operator = str(expression.op)
        if operator in ("sum", "avg"):
            found = np.add.reduceat(np.where(there, values, 0), begins, axis=0)
            found = found / np.maximum(count, 1) if operator == "avg" else found
        elif operator == "count":
            found = count
        elif operator in ("max", "min"):
            worst = -np.inf if operator == "max" else np.inf
            reduce = np.maximum if operator == "max" else np.minimum
            found = reduce.reduceat(np.where(there, values, worst), begins, axis=0)
        else:
            raise NotImplementedError(operator)
        return Vector(list(groups), np.where(count > 0, found, np.nan))

    def _binary(self, expression):
        operator = str(expression.op)
        left, right = self._walk(expression.lhs), self._walk(expression.rhs)
        modifier = expression.modifier
        if operator in SET_OPERATORS:
            return self._set(operator, left, right, modifier)
        if not isinstance(left, Vector) and not isinstance(right, Vector):
            return ARITHMETIC[operator](left, right)
        if not isinstance(left, Vector) or not isinstance(right, Vector):
            vector = left if isinstance(left, Vector) else right
            a = left.values if isinstance(left, Vector) else left
            b = right.values if isinstance(right, Vector) else right
            if operator in COMPARISONS:
                holds = COMPARISONS[operator](a, b) & ~np.isnan(vector.values)
                if modifier is not None and modifier.return_bool:
                    return Vector(vector.labels, np.where(np.isnan(vector.values), np.nan, holds.astype(float)))
                return Vector(vector.labels, np.where(holds, vector.values, np.nan))
            return Vector(vector.labels, ARITHMETIC[operator](a, b))
        return self._join(operator, left, right, modifier)

    def _join(self, operator: str, left: Vector, right: Vector, modifier) -> Vector:
        key = _matching(modifier)
        card = str(modifier.card) if modifier is not None else "OneToOne"
        swapped = "OneToMany" in card
        many, one = (right, left) if swapped else (left, right)
        index: dict[Labels, int] = {}
        for row, labels in enumerate(one.labels):
            own = key(labels)
            if own in index:
                raise ValueError(f"many-to-many: {own}")
            index[own] = row
        rows, others, labels = [], [], []
        for row, own in enumerate(many.labels):
            other = index.get(key(own))
            if other is None:
                continue
            rows.append(row)
            others.append(other)
            if "OneToOne" in card:
                labels.append(key(own))
            else:
                more = dict(one.labels[other])
                included = {name: more[name] for name in modifier.group_labels.labels if more.get(name)} if modifier.group_labels else {}
                labels.append(tuple(sorted((dict(own) | included).items())))
        if not rows:
            return self.empty()
        a, b = many.values[rows], one.values[others]
        if swapped:
            a, b = b, a
        if operator in COMPARISONS:
            there = ~np.isnan(a) & ~np.isnan(b)
            holds = COMPARISONS[operator](a, b) & there
            if modifier is not None and modifier.return_bool:
                return merged(labels, np.where(there, holds.astype(float), np.nan))
            return merged(labels, np.where(holds, a, np.nan))
        return merged(labels, ARITHMETIC[operator](a, b))

    def _set(self, operator: str, left: Vector, right: Vector, modifier) -> Vector:
        key = _matching(modifier)
        masks: dict[Labels, np.ndarray] = {}
        masking, masked = (left, right) if operator == "or" else (right, left)
        for labels, values in zip(masking.labels, masking.values):
            own = key(labels)
            there = ~np.isnan(values)
            masks[own] = masks[own] | there if own in masks else there
        nowhere = np.zeros(self.steps, bool)
        found = np.empty_like(masked.values)
        for row, labels in enumerate(masked.labels):
            mask = masks.get(key(labels), nowhere)
            keep = mask if operator == "and" else ~mask
            found[row] = np.where(keep, masked.values[row], np.nan)
        if operator != "or":
            return Vector(masked.labels, found)
        return merged(left.labels + masked.labels, np.concatenate([left.values, found]))

    def alert(self, rule: dict) -> Vector:
        """An alert over all steps; its firing and pending steps are put among the series as well."""
        condition = self.evaluate(rule["expr"])
        more = rule.get("labels", {}) | {"alertname": rule["alert"]}
        labels = [tuple(sorted((dict(own) | more).items())) for own in condition.labels]
        if not labels:
            return self.empty()
        joined = merged(labels, condition.values)
        active = ~np.isnan(joined.values)
        wait = int(_duration(rule.get("for", "0s")) / self.step + 0.999)
        keep = _duration(rule.get("keep_firing_for", "0s"))
        firing, pending = np.zeros_like(active), np.zeros_like(active)
        for row in np.flatnonzero(active.any(axis=1)):
            self._course(active[row], wait, keep, firing[row], pending[row])
        for state, steps in (("firing", firing), ("pending", pending)):
            rows = np.flatnonzero(steps.any(axis=1))
            own = [tuple(sorted((dict(joined.labels[row]) | {"alertstate": state}).items())) for row in rows]
            if own:
                self.put("ALERTS", Vector(own, np.where(steps[rows], 1.0, np.nan)))
        return Vector(joined.labels, np.where(firing, joined.values, np.nan) if firing.any() else np.full(active.shape, np.nan))

    def _course(self, active, wait, keep, firing, pending) -> None:
        """The states of one alert: pending for `wait` steps, firing, and kept firing for a while after."""
        edges = np.flatnonzero(np.diff(active.astype(int), prepend=0, append=0))
        kept_until, fires = -1, False
        for begin, end in zip(edges[::2], edges[1::2]):
            if fires and begin <= kept_until:
                # It has not ended since: the pause is bridged.
                firing[begin:end] = True
            else:
                fires = end - begin > wait
                pending[begin : min(begin + wait, end)] = True
                if fires:
                    firing[begin + wait : end] = True
            if fires:
                # The first step without the condition counts as the beginning of the keeping.
                length = int(-(-keep // self.step))
                kept_until = end + length
                firing[end : min(end + length, self.steps)] = True


def _duration(text: str) -> float:
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)(ms|[smhdw])", text))


def _only(labels: Labels, names: set[str]) -> Labels:
    return tuple(own for own in labels if own[0] in names)


def _without(labels: Labels, names: set[str]) -> Labels:
    return tuple(own for own in labels if own[0] not in names)


def _matching(modifier):
    """What two series have to have in common."""
    matching = modifier.matching if modifier is not None else None
    if matching is None:
        return lambda labels: labels
    names = set(matching.labels)
    if matching.type == promql.LabelModifierType.Include:
        return lambda labels: _only(labels, names)
    return lambda labels: _without(labels, names)


def run(engine: Engine, groups: list[dict], keep: frozenset[str] = frozenset()) -> list[Vector]:
    """Evaluates the rules in their order; series that no later rule reads are dropped, but for those of `keep`."""
    rules = [rule for group in groups for rule in group["rules"]]
    last: dict[str, int] = {}
    for index, rule in enumerate(rules):
        for name in re.findall(r"[a-zA-Z_][\w:]*", rule["expr"]):
            last[name] = index
    fired = []
    for index, rule in enumerate(rules):
        if "alert" in rule:
            fired.append(engine.alert(rule))
        else:
            found = engine.evaluate(rule["expr"])
            if not isinstance(found, Vector):
                found = Vector([()], found[None, :])
            rows = np.flatnonzero((~np.isnan(found.values)).any(axis=1))
            engine.put(rule["record"], Vector([found.labels[row] for row in rows], found.values[rows]))
        for name in [name for name in engine.series if last.get(name, -1) <= index]:
            if name not in keep and name != "ALERTS":
                del engine.series[name]
    return fired

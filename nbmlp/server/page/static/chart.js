// Curves over epochs: any number of series, linear or logarithmic, raw and smoothed.
/* global uPlot */

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Exponential moving average, corrected for its start; gaps stay gaps. */
export function smooth(values, weight) {
  let sum = 0;
  let norm = 0;
  return values.map((value) => {
    if (value == null) return null;
    sum = weight * sum + (1 - weight) * value;
    norm = weight * norm + (1 - weight);
    return sum / norm;
  });
}

/** Four significant digits, as short as they can be. */
export function brief(value) {
  if (value == null || !Number.isFinite(value)) return "–";
  return String(Number(value.toPrecision(4)));
}

/** Where a row stands: over the epochs of its own net, if there are many. */
export const own = (row) => row.net_epoch ?? row.epoch;

/**
 * One panel of curves.
 *
 * `series` is a list of {label, colour (a CSS variable), dash, width, rows, key}: the value `key` of
 * each of `rows` is drawn over its epoch. Without a label it is not in the legend; the label of a
 * `group` is that of several series, and has no value. Rows may grow: call `draw` then. `best` is the
 * epoch to mark, `place` what it is called.
 */
export class Chart {
  constructor(host, series, { height = 280, sync = null, percent = false, named = true } = {}) {
    Object.assign(this, { host, series, height, sync, percent, named });
    this.log = false;
    this.weight = 0;
    this.best = null;
    this.place = null;
    this.plot = null;
    this.legend = document.createElement("ul");
    this.legend.className = "legend";
    host.before(this.legend);
    host.tabIndex = 0;
    host.addEventListener("keydown", (event) => this.step(event));
    host.addEventListener("blur", () => this.point(null));
    addEventListener("themechange", () => this.rebuild());
    new ResizeObserver(() => this.fit()).observe(host);
    this.label();
  }

  /** Epochs, and the values of each series at them. */
  table() {
    const epochs = [...new Set(this.series.flatMap((s) => s.rows.map(own)))];
    epochs.sort((a, b) => a - b);
    const columns = this.series.map(({ rows, key }) => {
      const known = new Map(rows.map((row) => [own(row), row[key]]));
      return epochs.map((epoch) => this.shown(known.get(epoch)));
    });
    return [epochs, columns];
  }

  shown(value) {
    return value == null || !Number.isFinite(value) || (this.log && value <= 0) ? null : value;
  }

  /** Call the series `i` something else; `percent`: its values are shares. */
  rename(i, label, percent) {
    if (this.series[i].label === label) return;
    this.series[i].label = label;
    this.percent = percent;
    this.label();
  }

  /** Draw other series from now on. */
  take(series) {
    const looks = (all) => JSON.stringify(all.map(({ rows, ...look }) => look));
    const before = looks(this.series);
    this.series = series;
    if (looks(series) === before) return;
    this.label();
    this.plot?.destroy();
    this.plot = null;
  }

  /** Whether it is there at all. */
  show(on) {
    this.host.hidden = this.legend.hidden = !on;
  }

  /** Draw the rows as they are now. */
  draw() {
    const [epochs, columns] = this.table();
    if (!epochs.length) return;
    this.columns = columns;
    const smoothed = columns.map((values) => smooth(values, this.weight));
    if (!this.plot) this.build();
    this.plot.setData([epochs, ...columns, ...smoothed]);
    this.tell(null);
    this.describe(epochs);
  }

  rebuild() {
    this.plot?.destroy();
    this.plot = null;
    this.draw();
  }

  build() {
    this.host.classList.remove("waiting");
    this.host.textContent = "";
    const text = colour("--muted");
    const axis = { stroke: text, grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    const line = ({ label, colour: name, dash, width = 2 }, faint) => ({
      label, dash, stroke: colour(name), width: faint ? 1 : width, alpha: faint ? 0.35 : 1,
      points: { show: (u) => u.data[0].length < 2 }, spanGaps: true,
    });
    const dash = this.weight > 0;
    this.plot = new uPlot(
      {
        width: this.host.clientWidth,
        height: this.height,
        legend: { show: false },
        cursor: {
          y: false, drag: { x: true, y: false }, sync: this.sync ? { key: this.sync } : undefined,
          points: { size: (u, i) => (this.valued(this.series[(i - 1) % this.series.length]) ? 6 : 0) },
        },
        scales: { x: { time: false, range: (u, low, high) => [low, Math.max(high, low + 1)] },
                  y: { distr: this.log ? 3 : 1 } },
        axes: [
          { ...axis, size: 32, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000] },
          { ...axis, size: 56, values: (u, ticks) => ticks.map((v) => this.tick(v)) },
        ],
        series: [
          {},
          ...this.series.map((s) => line(s, dash)),
          ...this.series.map((s) => ({ ...line(s, false), show: dash })),
        ],
        hooks: { draw: [(u) => this.mark(u)], setCursor: [(u) => this.tell(u.cursor.idx ?? null)] },
      },
      [[], ...this.series.map(() => []), ...this.series.map(() => [])],
      this.host,
    );
  }

  tick(value) {
    if (value == null) return "";
    return this.percent ? `${brief(value * 100)} %` : brief(value);
  }

  /** A line at the best epoch, named. */
  mark(u) {
    if (this.best == null) return;
    const { ctx, bbox } = u;
    const x = Math.round(u.valToPos(this.best, "x", true));
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.strokeStyle = colour("--muted");
    ctx.lineWidth = ratio;
    ctx.setLineDash([3 * ratio, 3 * ratio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    if (this.named) this.name(ctx, x, bbox, ratio);
    ctx.restore();
  }

  called() {
    return this.place ?? `epoch ${this.best}`;
  }

  name(ctx, x, bbox, ratio) {
    const text = `best: ${this.called()}`;
    const right = x > bbox.left + bbox.width / 2;
    ctx.font = `${12 * ratio}px system-ui, sans-serif`;
    const width = ctx.measureText(text).width;
    const left = right ? x - width - 6 * ratio : x + 6 * ratio;
    ctx.fillStyle = colour("--panel");
    ctx.fillRect(left - 2 * ratio, bbox.top, width + 4 * ratio, 18 * ratio);
    ctx.fillStyle = colour("--muted");
    ctx.textAlign = "left";
    ctx.fillText(text, left, bbox.top + 13 * ratio);
  }

  /** Whether the legend tells its value. */
  valued(s) {
    return Boolean(s.label) && !s.group;
  }

  label() {
    this.legend.replaceChildren(
      ...this.series.filter((s) => s.label).map((s) => {
        const item = document.createElement("li");
        item.innerHTML = '<svg aria-hidden="true" viewBox="0 0 24 12"><line x1="1" y1="6" x2="23" y2="6"/></svg>';
        const stroke = item.querySelector("line");
        stroke.style.stroke = `var(${s.colour})`;
        if (s.width) stroke.style.strokeWidth = 1.5 * s.width;
        if (s.dash) stroke.setAttribute("stroke-dasharray", s.dash.join(" "));
        const name = Object.assign(document.createElement("span"), { className: "name", textContent: s.label });
        item.append(name);
        if (this.valued(s)) item.append(document.createElement("output"));
        return item;
      }),
    );
  }

  /** The values at a place of the x axis, by default those that count. */
  tell(index) {
    const outputs = this.legend.querySelectorAll("output");
    this.told().forEach(([, values], i) => {
      const value = index == null ? this.resting(values) : values[index];
      outputs[i].textContent = this.tick(value ?? NaN);
    });
  }

  /** What counts of a series: its end, or of nets, which go on behind their best, its best. */
  resting(values) {
    if (this.place == null) return values.findLast((v) => v != null);
    return values[this.plot.data[0].indexOf(this.best)];
  }

  /** The series whose values are told, with these. */
  told() {
    const pairs = this.series.map((s, i) => [s, this.columns?.[i] ?? []]);
    return pairs.filter(([s]) => this.valued(s));
  }

  /** What is drawn, in a sentence for those who do not see it. */
  describe(epochs) {
    const last = this.told().map(([s, values]) => `${s.label} ${brief(this.resting(values))}`);
    const best = this.best == null ? "" : `; best ${this.called()}`;
    const when = this.place == null ? "at the end" : "at the best";
    const nets = new Set(this.series.flatMap((s) => s.rows.map((row) => row.net ?? -1))).size;
    const whose = nets > 1 ? `of ${nets} nets over their epochs` : "of epochs";
    this.host.setAttribute("role", "img");
    this.host.setAttribute(
      "aria-label",
      `Curves ${whose} ${epochs[0]} to ${epochs.at(-1)}: ${when} ${last.join(", ")}${best}.` +
        " Arrow keys move through the epochs.",
    );
  }

  step(event) {
    const last = this.plot?.data[0].length - 1;
    const now = this.plot?.cursor.idx ?? last;
    const places = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last };
    if (!(event.key in places) || !this.plot) return;
    event.preventDefault();
    this.point(Math.min(last, Math.max(0, places[event.key])));
  }

  point(index) {
    if (!this.plot) return;
    const left = index == null ? -10 : this.plot.valToPos(this.plot.data[0][index], "x");
    this.plot.setCursor({ left, top: index == null ? -10 : this.height / 3 });
  }

  fit() {
    const width = this.host.clientWidth;
    if (this.plot && width && width !== this.plot.width) this.plot.setSize({ width, height: this.height });
  }
}

/** Connect the tools above charts (log axis, smoothing) to them. */
export function connect(tools, losses, all) {
  tools.querySelector('[name="log"]').addEventListener("change", (event) => {
    for (const chart of losses) {
      chart.log = event.target.checked;
      chart.rebuild();
    }
  });
  const range = tools.querySelector('[name="smooth"]');
  range.addEventListener("input", () => {
    tools.querySelector("output").textContent = range.value;
    for (const chart of all) {
      const before = chart.weight > 0;
      chart.weight = Number(range.value) / 100;
      if (before === chart.weight > 0) chart.draw();
      else chart.rebuild();
    }
  });
}

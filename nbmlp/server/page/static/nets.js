// An ensemble in a chart: one line for each net, over its own epochs.
const WIDTHS = [1, 1.5, 2.5];
const COLOURS = ["--control", "--train", "--validation"];

/** Whether rows are of many nets. */
export const many = (rows) => rows[0]?.net != null;

/** The net that had the best epoch, as a page says it; null where there is none yet. */
export const leaderOf = ({ net }) => (net ? Number(net) : null);

/**
 * Series of nets, what is to be seen best last: those that do not count, those that do, the
 * `leader`. `counts` tells of a net by its number; `labels` are those of the three, whose
 * first series each bears it; colours likewise.
 */
export function courses(rows, key, { leader, counts, labels, colours = COLOURS, dash }) {
  const nets = new Map();
  for (const row of rows) {
    if (!nets.has(row.net)) nets.set(row.net, []);
    nets.get(row.net).push(row);
  }
  const rank = (net) => (net === leader ? 2 : counts(net) ? 1 : 0);
  const order = [...nets.keys()].sort((a, b) => rank(a) - rank(b) || a - b);
  const labelled = new Set();
  return order.map((net) => {
    const place = rank(net);
    const label = labelled.has(place) ? "" : labels[place];
    labelled.add(place);
    return {
      key, label, dash, rows: nets.get(net), colour: colours[place], width: WIDTHS[place], group: place < 2,
    };
  });
}

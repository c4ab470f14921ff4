// Misspelled options are refused: an option that is ignored silently is noticed late.

/**
 * The number of characters to insert, remove or replace to make one text of another (Levenshtein).
 * @param {string} a @param {string} b
 */
const distance = (a, b) => {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length];
};

/** @param {string} name @param {string[]} known not empty @returns {string} the known name that is most similar */
const nearest = (name, known) => {
  const distances = known.map((each) => distance(name.toLowerCase(), each.toLowerCase()));
  return known[distances.indexOf(Math.min(...distances))];
};

/**
 * Throws a TypeError that names an unknown option and the known one with the most similar name.
 * @param {object} options as the application gave them
 * @param {object} known has a property for each option
 * @param {string} [parent] the option that contains these options
 */
export const checkNames = (options, known, parent) => {
  const names = Object.keys(known);
  const unknown = Object.keys(options).find((name) => !names.includes(name));
  if (unknown === undefined) return;
  const prefix = parent ? `${parent}.` : "";
  throw new TypeError(`unknown option ${prefix}${unknown}; the nearest one is ${prefix}${nearest(unknown, names)}`);
};

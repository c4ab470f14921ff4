/**
 * Throws a TypeError that names an unknown option and the known one with the most similar name.
 * @param {object} options as the application gave them
 * @param {object} known has a property for each option
 * @param {string} [parent] the option that contains these options
 */
export declare const checkNames: (options: object, known: object, parent?: string) => void;

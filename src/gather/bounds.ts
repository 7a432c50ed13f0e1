/**
 * The most names that one object, form or query may have. The policy engine's hash tables have no seed:
 * thousands of names that were chosen to collide take it seconds, which nothing can interrupt.
 */
export const MOST_NAMES = 512

/** How deep JSON may be nested. */
export const DEEPEST = 64

/** Arithmetic on numbers far beyond any double takes the policy engine seconds too. */
export const LARGEST_EXPONENT = 999

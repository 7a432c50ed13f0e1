/**
 * The most names that one object, form or query may have. The policy engine's hash tables have no seed:
 * thousands of names that were chosen to collide take it seconds, which nothing can interrupt.
 */
export const MOST_NAMES = 512

/** The most fields that a form or query may have, the same name over and over included. */
export const MOST_FIELDS = 2048

/** The most headers that a part of a multipart form may have, and the most parameters a header may have. */
export const MOST_PARAMETERS = 32

/** The most segments of a path. */
export const MOST_SEGMENTS = 512

/** The most values that the JSON of one body may have; the engine takes seconds for millions. */
export const MOST_VALUES = 65_536

/** How deep JSON may be nested. */
export const DEEPEST = 64

/** Arithmetic on numbers far beyond any double takes the policy engine seconds too. */
export const LARGEST_EXPONENT = 999

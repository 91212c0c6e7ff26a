// What the doctor found: how bad it is, about what, and what to do.

/** `problem`: something does not work. `warning`: it will not some day, or not well. `note`: worth knowing, or not to be found out. */
export type FindingLevel = 'problem' | 'warning' | 'note' | 'ok'

export interface Finding {
  readonly level: FindingLevel
  /** `upstream cache.nixos.org`, `clock`. */
  readonly about: string
  /** One sentence without its end; the cause first. */
  readonly says: string
  /** What to do about it; undefined where nothing is to be done. */
  readonly do?: string
}

/** The worst first. */
export const levels: readonly FindingLevel[] = ['problem', 'warning', 'note', 'ok']

/** Documents as a server would send them, for tests and the simulator: whole records with every default of the schema filled in. */
import { type Kind, type RecordOf, type SpecOf, specSchemas } from "@sheaf/model";

/** A UUID of version 7 that ends in `number`: readable in failures. */
export const sampleId = (number: number): string => `0192a000-0000-7000-8000-${number.toString(16).padStart(12, "0")}`;

export interface SampleOptions<K extends Kind> {
  readonly id?: string;
  readonly name?: string;
  readonly generation?: number;
  readonly deletedAt?: number;
  readonly placement?: { readonly host: string; readonly epoch: number; readonly incarnation: string };
  readonly status?: RecordOf<K>["status"];
  readonly number?: number;
}

/** @param spec as a user would write it; defaults are filled in, and it is checked */
export function sampleDocument<K extends Kind>(kind: K, spec: unknown, options: SampleOptions<K> = {}): RecordOf<K> & { readonly kind: K } {
  const { placement } = options;
  return {
    kind,
    id: options.id ?? sampleId(1),
    name: options.name ?? `${kind}-1`,
    labels: {},
    generation: options.generation ?? 1,
    createdAt: 1_767_225_600_000,
    createdBy: "test",
    finalizers: [],
    revision: 1,
    specRevision: 1,
    ...(options.number === undefined ? {} : { number: options.number }),
    ...(options.deletedAt === undefined ? {} : { deletedAt: options.deletedAt }),
    ...(placement === undefined ? {} : { placement: { ...placement, at: 1_767_225_600_000 } }),
    // The schema of this very kind has checked it.
    spec: specSchemas[kind].parse(spec) as SpecOf<K>,
    status: options.status ?? {},
  } as RecordOf<K> & { readonly kind: K }; // all members of the envelope are above
}

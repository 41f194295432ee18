/**
 * Typed parameters: libvirt's open-ended lists of named values (statistics, tuning, migration). A name may occur
 * more than once (`migrate_disks`), hence a list; `parametersToRecord` is for reading where it does not.
 */
import { type Codec, double, flag, hyper, int, list, string, struct, uhyper, uint } from "./codec.ts";
import { XdrError } from "./xdr.ts";

export type TypedValue =
  | { readonly type: "int" | "uint" | "double"; readonly value: number }
  | { readonly type: "llong" | "ullong"; readonly value: bigint }
  | { readonly type: "boolean"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string };

export type TypedParameter = { readonly field: string; readonly value: TypedValue };

/** virTypedParameterType, in order from 1. */
const codecs = { int, uint, llong: hyper, ullong: uhyper, double, boolean: flag, string } as const;
const names = ["int", "uint", "llong", "ullong", "double", "boolean", "string"] as const;

const typedValue: Codec<TypedValue> = {
  minBytes: 8,
  encode: (writer, { type, value }) => {
    const codec: Codec<unknown> | undefined = codecs[type];
    if (codec === undefined) throw new XdrError(`${JSON.stringify(type)} is no type of a parameter`);
    writer.int(names.indexOf(type) + 1);
    codec.encode(writer, value);
  },
  decode: (reader) => {
    const number = reader.discriminant(names.length);
    const type = names[number - 1];
    if (type === undefined) throw new XdrError(`${number} is no type of a parameter`);
    // `type` and the codec come from the same entry, so the value has that entry's type.
    return { type, value: codecs[type].decode(reader) } as TypedValue;
  },
};

export const typedParameter: Codec<TypedParameter> = struct({ field: string, value: typedValue });

export const typedParameters = (maxItems: number) => list(typedParameter, maxItems);

/** Makes parameters of the stated types: `parameter.ullong("bandwidth", 100n)`. */
export const parameter = {
  int: (field: string, value: number): TypedParameter => ({ field, value: { type: "int", value } }),
  uint: (field: string, value: number): TypedParameter => ({ field, value: { type: "uint", value } }),
  llong: (field: string, value: bigint | number): TypedParameter => ({ field, value: { type: "llong", value: BigInt(value) } }),
  ullong: (field: string, value: bigint | number): TypedParameter => ({ field, value: { type: "ullong", value: BigInt(value) } }),
  double: (field: string, value: number): TypedParameter => ({ field, value: { type: "double", value } }),
  boolean: (field: string, value: boolean): TypedParameter => ({ field, value: { type: "boolean", value } }),
  string: (field: string, value: string): TypedParameter => ({ field, value: { type: "string", value } }),
} as const;

export type ParameterValue = number | bigint | boolean | string;

/** By name. 64-bit values within ±(2^53 - 1) come as `number`, larger ones as `bigint`; of a repeated name the last counts. */
export function parametersToRecord(parameters: readonly TypedParameter[]): Readonly<Record<string, ParameterValue>> {
  const record: Record<string, ParameterValue> = Object.create(null);
  for (const { field, value } of parameters) record[field] = typeof value.value === "bigint" ? narrowed(value.value) : value.value;
  return record;
}

/** A parameter's number, or undefined when it is absent or no number. Values beyond 2^53 are rounded to the nearest double. */
export function numberParameter(parameters: readonly TypedParameter[], field: string): number | undefined {
  const value = parameters.find((candidate) => candidate.field === field)?.value.value;
  return typeof value === "number" || typeof value === "bigint" ? Number(value) : undefined;
}

/** A parameter's text, or undefined when it is absent or no text. */
export function stringParameter(parameters: readonly TypedParameter[], field: string): string | undefined {
  const value = parameters.find((candidate) => candidate.field === field)?.value.value;
  return typeof value === "string" ? value : undefined;
}

function narrowed(value: bigint): number | bigint {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

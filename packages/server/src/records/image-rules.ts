/** Rules for images. Their bytes are the library's matter. */
import type { KindRules } from "./kind-rules.ts";
import { fixed, invalid, sameJson } from "./refusals.ts";

export const imageRules: KindRules<"image"> = {
  finalizers: ["library"],
  verbs: { create: "import", delete: "delete" },
  referred: true,
  create(_work, spec) {
    if (spec.checksum !== undefined && spec.checksum.length !== (spec.checksum.startsWith("sha256:") ? 7 + 64 : 7 + 128))
      throw invalid("/spec/checksum", "must have 64 hexadecimal digits for sha256, 128 for sha512");
    if (spec.format === "iso" && spec.type === "disk") throw invalid("/spec/format", "iso goes with type iso only");
    if (spec.type === "iso" && spec.format !== undefined && spec.format !== "iso" && spec.format !== "raw")
      throw invalid("/spec/format", "must be iso for an image of type iso");
    return { spec };
  },
  change(_work, before, spec) {
    for (const field of ["source", "checksum", "format", "type"] as const)
      if (!sameJson(spec[field], before.spec[field])) throw fixed(`/spec/${field}`, `The ${field} of an image`, "Import a new image.");
    return { spec };
  },
  refuseDelete: (_work, record) => (record.spec.protected ? "it is protected: clear `protected` first" : null),
};

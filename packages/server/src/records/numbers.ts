/** Short numbers and MAC addresses: chosen here, made unique by the store's keys. A number once given is not given again by itself. */
import { toHex } from "@sheaf/base";
import { macKey, numberKey, SheafError } from "@sheaf/model";
import type { ServerContext } from "../context.ts";
import type { Draft } from "./draft.ts";
import type { SiteIndex } from "./site-index.ts";

type NumberedKind = "vm" | "image";
const lowest = 100;
const highestNumber = 999_999_999;
/** Last number that was chosen by Sheaf, so that deleting the newest machine and restarting does not give its number away. */
const markKey = (kind: NumberedKind): string => `u/last-number/${kind}`;

export class Numbers {
  readonly #context: Pick<ServerContext, "store" | "random">;
  readonly #index: SiteIndex;
  readonly #next: Record<NumberedKind, number> = { vm: lowest, image: lowest };

  constructor(context: Pick<ServerContext, "store" | "random">, index: SiteIndex) {
    this.#context = context;
    this.#index = index;
  }

  async start(): Promise<void> {
    for (const kind of ["vm", "image"] as const) {
      const mark = Number((await this.#context.store.get(markKey(kind)))?.value ?? 0);
      this.#next[kind] = Math.max(lowest, mark + 1);
    }
  }

  /** @param wanted a number of the caller's own choice: refused when taken; else the next free one */
  claim(draft: Draft, kind: NumberedKind, id: string, wanted: number | undefined): number {
    if (wanted !== undefined) {
      draft.claim(numberKey(kind, wanted), id, { refusal: () => numberTaken(kind, wanted) });
      return wanted;
    }
    const next = this.draw(draft, kind);
    draft.claim(numberKey(kind, next), id, {});
    return next;
  }

  /** A number for a record that is made later, if at all: it is not given to another. */
  draw(draft: Draft, kind: NumberedKind): number {
    let next = this.#next[kind];
    while (this.#index.numbered(kind, next) !== undefined) next += 1; // somebody's own choice
    if (next > highestNumber)
      throw new SheafError("no-capacity", `Every number up to ${highestNumber} was given.`, { next: "Ask for a number that is free again." });
    this.#next[kind] = next + 1;
    draft.putText(markKey(kind), String(next));
    return next;
  }

  /** @param wanted refused when taken; else one is chosen, 52:54:00 and three random bytes */
  claimMac(draft: Draft, id: string, wanted: string | undefined, taken: ReadonlySet<string>): string {
    if (wanted !== undefined) {
      draft.claim(macKey(wanted), id, {
        refusal: () =>
          new SheafError("name-taken", `The MAC address ${wanted} belongs to another machine.`, { next: "Leave it out: Sheaf chooses one." }),
      });
      return wanted;
    }
    for (;;) {
      const mac = `52:54:00:${toHex(this.#context.random.bytes(3)).replace(/(..)(?=.)/g, "$1:")}`;
      if (taken.has(mac)) continue;
      draft.claim(macKey(mac), id, {});
      return mac;
    }
  }
}

const numberTaken = (kind: NumberedKind, number: number): SheafError =>
  new SheafError("name-taken", `The number ${number} belongs to another ${kind === "vm" ? "machine" : "image"}.`, {
    next: "Leave the number out: Sheaf chooses a free one.",
    errors: [{ at: "/number", message: "is taken" }],
  });

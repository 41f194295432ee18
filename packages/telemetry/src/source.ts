/**
 * What one host's agent tells: rows of the host and its machines, one each 10 s, oldest first. A window of five minutes that is over becomes a
 * frame of every tier up to it; an hour that is over, a frame of the hour's. What was told before is left out, so an agent may repeat itself.
 */
import type { MetricKind } from "@sheaf/model";
import { FigureSum } from "./figure-sum.ts";
import type { FrameWriter } from "./frame.ts";
import { bytesOfIdentifier } from "./identifiers.ts";
import { addRow, hoursKept, Member, rollUpColumns, windowSlots, windowsKept } from "./member.ts";
import type { Table } from "./table.ts";
import type { FrameRows } from "./tier-log.ts";

/** Where a source's rows go. */
export interface RowSink {
  /** Steps of the tiers below the hour, in slots of 10 s: 1, and what divides a window. */
  readonly steps: readonly number[];
  /** @param tier place in `steps`; of the hours: their number */
  append(tier: number, rows: FrameRows, write: (frame: FrameWriter) => void): void;
}

/** Figures of a host or machine in one row, in the order that the batch names them. */
export interface MemberFigures {
  readonly id: string;
  readonly kind: MetricKind;
  /** In quanta; `null`: not measured. */
  readonly figures: readonly (number | null)[];
  /** For each of them its metric's number; -1: not known here. */
  readonly numbers: Int16Array;
}

/** Windows and hours by their numbers. */
export interface RecentRows {
  readonly windows: readonly number[];
  readonly hours: readonly number[];
  readonly running: boolean;
}

const none = -1;

export class Source {
  readonly id: string;
  readonly #idBytes: Uint8Array;
  readonly #sink: RowSink;
  readonly members = new Map<string, Member>();
  /** Newest slot that was told. */
  lastTold = none;
  /** Newest slot that was given to the files. */
  givenOut = none;
  /** Up to here all is on the disk. */
  durable = none;
  /** The running window. */
  window = none;
  /** A bit for each of its rows that was told. */
  #present = 0;
  readonly #windows = new Int32Array(windowsKept).fill(none);
  /** 1: that window is part of an hour's row already. */
  readonly #inHour = new Uint8Array(windowsKept);
  readonly #hours = new Int32Array(hoursKept).fill(none);
  readonly #slots = new Int32Array(windowSlots);
  #packed = new Uint16Array(0);
  readonly #joined: (member: Member) => void;

  constructor(id: string, sink: RowSink, joined: (member: Member) => void) {
    this.id = id;
    this.#idBytes = bytesOfIdentifier(id);
    this.#sink = sink;
    this.#joined = joined;
  }

  /** @returns whether the row is new */
  take(slot: number, rows: readonly MemberFigures[]): boolean {
    if (slot <= this.lastTold) return false;
    this.#advance(Math.floor(slot / windowSlots));
    this.lastTold = slot;
    const row = slot % windowSlots;
    this.#present |= 1 << row;
    for (const { id, kind, figures, numbers } of rows) {
      const member = this.#member(id, kind);
      member.lastSlot = slot;
      for (let place = 0; place < figures.length; place += 1) {
        const number = numbers[place] ?? none;
        if (number >= 0) member.put(number, row, figures[place]);
      }
    }
    return true;
  }

  /** Goes to a later window: what came before is over. */
  #advance(window: number): void {
    if (window <= this.window) return;
    this.settle(window);
    this.window = window;
  }

  /** Gives out what is older than a window, for a source that is silent: what it has not told of it may still come. */
  settle(window: number): void {
    if (this.window < window) this.#seal();
    const hour = Math.floor(window / windowsKept);
    for (let each = 0; each < windowsKept; each += 1) {
      const kept = this.#windows[each] ?? none;
      if (kept === none || this.#inHour[each] === 1 || Math.floor(kept / windowsKept) >= hour) continue;
      this.#sealHour(Math.floor(kept / windowsKept));
    }
  }

  /** Gives the running window's rows out, as far as they have come; more of it may come afterwards. */
  #seal(): void {
    if (this.#present === 0) return;
    const first = this.window * windowSlots;
    const active: Member[] = [];
    for (const member of this.members.values()) if (member.lastSlot >= first) active.push(member);
    this.#sink.steps.forEach((step, tier) => (step === 1 ? this.#appendSamples(tier, active) : this.#appendRollUps(tier, step, active)));
    this.#keepWindow();
    for (const member of active) member.clear();
    this.#present = 0;
    this.givenOut = this.lastTold;
  }

  /** What a log says that was told before the server started. */
  told(slot: number): void {
    this.lastTold = Math.max(this.lastTold, slot);
    this.givenOut = this.durable = this.lastTold;
    this.window = Math.floor(this.lastTold / windowSlots);
  }

  /** Machines that have not been told of for longer than a day: others' by now, or gone. */
  forgetBefore(slot: number, left: (member: Member) => void): void {
    for (const member of this.members.values()) {
      if (member.lastSlot >= slot) continue;
      this.members.delete(member.id);
      left(member);
    }
  }

  /** Which of the kept rows stand for the last while. @param fromHour `null`: windows alone */
  rowsSince(fromWindow: number, fromHour: number | null): RecentRows {
    const windows: number[] = [];
    this.#windows.forEach((window, place) => {
      if (window !== none && window >= fromWindow && (fromHour === null || this.#inHour[place] === 0)) windows.push(window);
    });
    const hours = fromHour === null ? [] : [...this.#hours].filter((hour) => hour !== none && hour >= fromHour);
    return { windows, hours, running: this.#present !== 0 && this.window >= fromWindow };
  }

  /** Adds what a member's figure was in these: its mean, or the greatest. */
  addRecent(member: Member, { windows, hours, running }: RecentRows, sum: FigureSum, greatest: boolean): void {
    for (const hour of hours) sum.addOne(member.codes, member.hourRow(hour), hoursKept, greatest);
    for (const window of windows) sum.addOne(member.codes, member.windowRow(window), windowsKept, greatest);
    if (!running || !this.#isRunning(member)) return;
    const row = this.#scratch(rollUpColumns(member.figures));
    row[0] = member.rollUp(0, windowSlots, row, 0, 1, sum.figure);
    sum.addOne(row, 0, 1, greatest);
  }

  /** The window that is not in any file yet. */
  runningSamples(member: Member): Table {
    if (!this.#isRunning(member)) return { slots: new Int32Array(0), columns: 0, codes: new Uint16Array(0) };
    const first = this.window * windowSlots;
    const slots = Int32Array.from({ length: windowSlots }, (_, row) => first + row);
    return { slots, columns: member.figures, codes: member.codes.subarray(0, member.figures * windowSlots) };
  }

  /** The same, as rows of a roll-up. */
  runningRows(member: Member, step: number, each: (slot: number, row: Uint16Array) => void): void {
    if (!this.#isRunning(member)) return;
    const first = this.window * windowSlots;
    const row = this.#scratch(rollUpColumns(member.figures));
    for (let from = 0; from < windowSlots; from += step) if (member.rollUp(from, from + step, row, 0, 1) > 0) each((first + from) / step, row);
  }

  #isRunning = (member: Member): boolean => this.#present !== 0 && member.lastSlot >= this.window * windowSlots;

  /** What hours' rows lack: windows that are no part of one yet, and the running one. */
  looseHours(member: Member, each: (hour: number, row: Uint16Array) => void): void {
    const windows = [...this.#windows.keys()].filter((place) => this.#windows[place] !== none && this.#inHour[place] === 0);
    const hourOf = (window: number | undefined): number => Math.floor((window ?? none) / windowsKept);
    const running = this.#isRunning(member) ? hourOf(this.window) : none;
    for (const hour of new Set([...windows.map((place) => hourOf(this.#windows[place])), running])) {
      if (hour < 0) continue;
      const rows = windows.filter((place) => hourOf(this.#windows[place]) === hour).map((place) => member.windowRow(this.#windows[place] ?? 0));
      const last = new Uint16Array(rollUpColumns(member.figures));
      if (hour === running) member.rollUp(0, windowSlots, last, 0, 1);
      each(hour, sumRows(member, rows, last));
    }
  }

  /** What a log says of the last hour, when the server starts. @param row place in the table, whose columns are a roll-up's */
  restoreWindow(id: string, kind: MetricKind, table: Table, row: number): void {
    const window = table.slots[row] ?? none;
    const member = this.#member(id, kind);
    member.lastSlot = Math.max(member.lastSlot, window * windowSlots);
    this.#restore(member, window, this.#windows, (each) => each.windowRow(window), table, row);
    this.#inHour[window % windowsKept] = 0;
  }

  /** After the windows. */
  restoreHour(id: string, kind: MetricKind, table: Table, row: number): void {
    const hour = table.slots[row] ?? none;
    const member = this.#member(id, kind);
    member.lastSlot = Math.max(member.lastSlot, hour * windowsKept * windowSlots);
    this.#restore(member, hour, this.#hours, (each) => each.hourRow(hour), table, row);
    for (let each = 0; each < windowsKept; each += 1) if (Math.floor((this.#windows[each] ?? none) / windowsKept) === hour) this.#inHour[each] = 1;
  }

  #restore(member: Member, number: number, numbers: Int32Array, rowOf: (member: Member) => number, { codes, slots }: Table, row: number): void {
    const place = number % numbers.length;
    if ((numbers[place] ?? none) > number) return;
    if (numbers[place] !== number) for (const each of this.members.values()) each.codes[rowOf(each)] = 0;
    numbers[place] = number;
    addRow(member.bits, { codes: member.codes, at: rowOf(member), stride: numbers.length }, { codes, at: row, stride: slots.length });
  }

  #member(id: string, kind: MetricKind): Member {
    let member = this.members.get(id);
    if (!member) {
      this.members.set(id, (member = new Member(id, kind)));
      this.#joined(member);
    }
    return member;
  }

  #rows(slots: Int32Array, rows: number, members: readonly Member[]): FrameRows {
    return { source: this.id, sourceBytes: this.#idBytes, lastTold: this.lastTold, slots, rows, members };
  }

  #appendSamples(tier: number, members: readonly Member[]): void {
    const first = this.window * windowSlots;
    let rows = 0;
    for (let row = 0; row < windowSlots; row += 1) if (((this.#present >>> row) & 1) === 1) this.#slots[rows++] = first + row;
    this.#sink.append(tier, this.#rows(this.#slots, rows, members), (frame) => {
      for (const member of members) {
        const { idBytes, kind, figures } = member;
        if (rows === windowSlots) frame.member(idBytes, kind, member.codes, figures, windowSlots);
        else frame.member(idBytes, kind, this.#pack(member, rows, first), figures, rows);
      }
    });
  }

  /** The rows that were told, without the others. */
  #pack({ codes, figures }: Member, rows: number, first: number): Uint16Array {
    const packed = this.#scratch(figures * rows);
    for (let figure = 0; figure < figures; figure += 1)
      for (let row = 0; row < rows; row += 1) packed[figure * rows + row] = codes[figure * windowSlots + (this.#slots[row] ?? 0) - first] ?? 0xffff;
    return packed;
  }

  #appendRollUps(tier: number, step: number, members: readonly Member[]): void {
    const first = this.window * windowSlots;
    const mask = 2 ** step - 1;
    let rows = 0;
    for (let from = 0; from < windowSlots; from += step) if (((this.#present >>> from) & mask) !== 0) this.#slots[rows++] = (first + from) / step;
    const slots = this.#slots;
    this.#sink.append(tier, this.#rows(slots, rows, members), (frame) => {
      for (const member of members) {
        const columns = rollUpColumns(member.figures);
        const codes = this.#scratch(columns * rows);
        for (let row = 0; row < rows; row += 1) {
          const from = (slots[row] ?? 0) * step - first;
          member.rollUp(from, from + step, codes, row, rows);
        }
        frame.member(member.idBytes, member.kind, codes, columns, rows);
      }
    });
  }

  #keepWindow(): void {
    const place = this.window % windowsKept;
    // The rest of a window that was given out before it was over.
    const more = this.#windows[place] === this.window && this.#inHour[place] === 0;
    this.#windows[place] = this.window;
    this.#inHour[place] = 0;
    for (const member of this.members.values()) {
      const at = member.windowRow(this.window);
      if (more && this.#isRunning(member)) {
        const row = this.#scratch(rollUpColumns(member.figures));
        member.rollUp(0, windowSlots, row, 0, 1);
        addRow(member.bits, { codes: member.codes, at, stride: windowsKept }, { codes: row, at: 0, stride: 1 });
      } else if (more) continue;
      else if (member.lastSlot >= this.window * windowSlots) member.rollUp(0, windowSlots, member.codes, at, windowsKept);
      else member.codes[at] = 0;
    }
  }

  #sealHour(hour: number): void {
    const place = hour % hoursKept;
    const more = this.#hours[place] === hour;
    const active: Member[] = [];
    const windows: number[] = [];
    for (let each = 0; each < windowsKept; each += 1) {
      const window = this.#windows[each] ?? none;
      if (window === none || this.#inHour[each] === 1 || Math.floor(window / windowsKept) !== hour) continue;
      windows.push(window);
      this.#inHour[each] = 1;
    }
    this.#hours[place] = hour;
    // A second row of the same hour stands for the windows that the first did not have.
    const rows = new Map<Member, Uint16Array>();
    for (const member of this.members.values()) {
      const row = sumRows(
        member,
        windows.map((window) => member.windowRow(window)),
      );
      const at = member.hourRow(hour);
      if (!more) member.codes[at] = 0;
      addRow(member.bits, { codes: member.codes, at, stride: hoursKept }, { codes: row, at: 0, stride: 1 });
      if ((row[0] ?? 0) === 0) continue;
      active.push(member);
      rows.set(member, row);
    }
    this.#slots[0] = hour;
    this.#sink.append(this.#sink.steps.length, this.#rows(this.#slots, 1, active), (frame) => {
      for (const member of active) frame.member(member.idBytes, member.kind, rows.get(member) ?? member.codes, rollUpColumns(member.figures), 1);
    });
  }

  #scratch(length: number): Uint16Array {
    if (this.#packed.length < length) this.#packed = new Uint16Array(length);
    return this.#packed;
  }
}

/** Rows of roll-ups that a member keeps, and perhaps another, as one. */
function sumRows(member: Member, places: readonly number[], more?: Uint16Array): Uint16Array {
  const row = new Uint16Array(rollUpColumns(member.figures));
  for (let figure = 0; figure < member.figures; figure += 1) {
    const sum = new FigureSum(figure, member.bits[figure] ?? 0);
    for (const at of places) sum.add(member.codes, at, windowsKept);
    if (more) sum.add(more, 0, 1);
    sum.writeTo(row);
  }
  for (const at of places) row[0] = (row[0] ?? 0) + (member.codes[at] ?? 0);
  if (more) row[0] = (row[0] ?? 0) + (more[0] ?? 0);
  return row;
}

/** What a story of the soak is: something that is played again and again, each round from a seed of its own. */
import type { Random } from "@sheaf/base";

export interface Round {
  /** Everything random in the round comes from it: the same seed is the same round, as far as a real machine allows. */
  readonly seed: number;
  readonly random: Random;
  /** Kept with the round when it fails. */
  readonly log: (text: string) => void;
  /** A figure for the ledger, which shows the median and the largest of all rounds by name; the name says its unit. Kept where the round fails, too. */
  readonly measured: (name: string, figure: number) => void;
  /** Once it is aborted the round ends soon, with that reason; whatever it does goes on until then. */
  readonly stop: AbortSignal;
}

export interface OpenStory {
  /** Files that are kept when a round fails. */
  readonly logDirectory?: string;
  /** @throws where what the story promises does not hold */
  round(round: Round): Promise<void>;
  /** Leaves nothing behind, whatever went before. */
  close(): Promise<void>;
}

export interface Story {
  /** A DNS label: words of the command line and file names are made of it. */
  readonly name: string;
  /** One sentence. */
  readonly summary: string;
  /** Not among those that are played when none is named. */
  readonly onlyByName?: true;
  /** Makes what rounds share, such as a site of hosts; a failed round is followed by a new one. */
  open(): Promise<OpenStory>;
}

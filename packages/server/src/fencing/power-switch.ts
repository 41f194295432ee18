/** What every kind of fencing device is to the server: a switch that can be asked and thrown. Each kind has a file beside this one. */

export type Power = "on" | "off";

export interface PowerSwitch {
  /** @throws SheafError `fencing-failed` */
  status(signal: AbortSignal): Promise<Power>;
  /** Asks for the power to be turned on; done when the device has taken the order. @throws SheafError `fencing-failed` */
  turnOn(signal: AbortSignal): Promise<void>;
  /** Asks for the power to be cut at once; done when the device has taken the order. @throws SheafError `fencing-failed` */
  cut(signal: AbortSignal): Promise<void>;
}

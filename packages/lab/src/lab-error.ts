/** What the lab throws: says what happened, why, and what to do next. Callers may show the message to a person. */
export class LabError extends Error {
  override readonly name = "LabError";
}

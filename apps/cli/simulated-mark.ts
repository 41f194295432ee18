/** Whoever looks at a simulated data centre is told so, once a command, beside what a script reads. */
import type { Transport } from "@sheaf/client";
import { simulatedHeader } from "@sheaf/contract";

export const simulatedLine = "SIMULATED data centre: no machine here is real.";

/** @param tell called at the first answer that says that it is simulated */
export function markSimulated(transport: Transport, tell: () => void): Transport {
  let told = false;
  return async (request) => {
    const answer = await transport(request);
    if (!told && answer.headers[simulatedHeader] === "true") {
      told = true;
      tell();
    }
    return answer;
  };
}

/** `sqlite-kill.test.ts` with as many lives as there is time for in a whole test run. */
process.env["SHEAF_KILL_CYCLES"] ??= "300";
await import("./sqlite-kill.test.ts");

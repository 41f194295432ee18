/** A whole site for end-to-end tests: server, lab hosts, agents, the image `mini`, and the command line signed in to it. */
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GUEST_IMAGE_CACHE } from "@sheaf/lab";
import { LabDeployment, labIdentity, type LabDeploymentOptions } from "../apps/server/deployment/lab-deployment.ts";
import { importMiniImage } from "../apps/server/deployment/mini-image.ts";
import { signInCommandLine } from "../apps/server/deployment/sign-in.ts";

export interface CommandResult {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

export interface Site {
  readonly deployment: LabDeployment;
  readonly folder: string;
  /** Runs `./sheaf` with these words; never throws for its exit code. */
  sheaf(...words: string[]): Promise<CommandResult>;
  /** Runs `./sheaf`; throws with its words where it fails. */
  must(...words: string[]): Promise<string>;
  /** Signs the command line in again: after a new server, whose session key changed. */
  signIn(): Promise<void>;
  close(): Promise<void>;
}

const root = join(import.meta.dirname, "..");

export interface SitePlace extends Pick<LabDeploymentOptions, "labId" | "subnet"> {
  readonly folder: string;
}

export interface SiteOptions extends Pick<LabDeploymentOptions, "hosts" | "port" | "serverProgram" | "cells"> {
  /** Or who makes, on the lab's network, what the server needs before it starts, and tells them then. */
  readonly serverArguments?: readonly string[] | ((place: SitePlace) => Promise<readonly string[]>);
}

export async function openSite({ serverArguments = [], ...options }: SiteOptions): Promise<Site> {
  const folder = await mkdtemp(join(tmpdir(), "se-"));
  const configuration = join(folder, "cli.json");
  const lab = labIdentity(folder);
  const deployment = LabDeployment.describe({
    dataDirectory: join(folder, "d"),
    ...options,
    ...lab,
    serverArguments: typeof serverArguments === "function" ? await serverArguments({ ...lab, folder }) : serverArguments,
    agentPort: options.port + 1,
  });
  const signIn = async (): Promise<void> => {
    process.env["SHEAF_CONFIG"] = configuration;
    await signInCommandLine(deployment.server, deployment.client);
  };
  const sheaf = (...words: string[]): Promise<CommandResult> =>
    new Promise((resolve, reject) => {
      const child = spawn(join(root, "sheaf"), words, {
        cwd: root,
        stdio: ["ignore", "pipe", "pipe"],
        env: { ...process.env, SHEAF_CONFIG: configuration },
        timeout: 300_000,
      });
      let out = "";
      let error = "";
      child.stdout.setEncoding("utf8").on("data", (chunk: string) => (out += chunk));
      child.stderr.setEncoding("utf8").on("data", (chunk: string) => (error += chunk));
      child.on("error", reject);
      child.on("close", (code, signal) => resolve({ code: code ?? (signal === null ? 1 : 128), out, error }));
    });
  const close = async (): Promise<void> => {
    await deployment.purge();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await deployment.start();
    await importMiniImage(deployment.client, GUEST_IMAGE_CACHE);
    await signIn();
  } catch (error) {
    await close();
    throw error;
  }
  return {
    deployment,
    folder,
    sheaf,
    signIn,
    close,
    async must(...words) {
      const result = await sheaf(...words);
      if (result.code !== 0) throw new Error(`sheaf ${words.join(" ")} ended with ${result.code}:\n${result.error}${result.out}`);
      return result.out;
    },
  };
}

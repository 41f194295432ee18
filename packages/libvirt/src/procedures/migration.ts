/**
 * Migration, version 3 with typed parameters, and a domain's jobs. Each phase but peer-to-peer PERFORM works on one daemon only;
 * the client carries the cookies. Source: libvirt's migration page and remote_protocol.x, procedures 302 to 307.
 */
import { flag, int, nullable, opaque, size, string, uint } from "../codec.ts";
import { domain } from "../structures.ts";
import { typedParameters } from "../typed-params.ts";
import { define } from "./procedure.ts";

const params = typedParameters(256);
const cookieIn = opaque(4_194_304);
const cookieOut = opaque(4_194_304);
const long = { long: true } as const;

export const migrationProcedures = {
  domainMigrateBegin3Params: define(302, { domain, params, flags: uint }, { cookieOut, xml: string }, long),
  domainMigratePrepare3Params: define(303, { params, cookieIn, flags: uint }, { cookieOut, uriOut: nullable(string) }, long),
  domainMigratePrepareTunnel3Params: define(304, { params, cookieIn, flags: uint }, { cookieOut }, { long: true, stream: "upload" }),
  domainMigratePerform3Params: define(305, { domain, destinationUri: nullable(string), params, cookieIn, flags: uint }, { cookieOut }, long),
  domainMigrateFinish3Params: define(306, { params, cookieIn, flags: uint, cancelled: flag }, { domain, cookieOut }, long),
  domainMigrateConfirm3Params: define(307, { domain, params, cookieIn, flags: uint, cancelled: flag }, {}, long),
  /** ms. */
  domainMigrateSetMaxDowntime: define(166, { domain, downtime: size, flags: uint }, {}),
  domainMigrateGetMaxDowntime: define(387, { domain, flags: uint }, { downtime: size }),
  /** MiB/s. */
  domainMigrateSetMaxSpeed: define(207, { domain, bandwidth: size, flags: uint }, {}),
  domainMigrateGetMaxSpeed: define(242, { domain, flags: uint }, { bandwidth: size }),
  /** Bytes. */
  domainMigrateGetCompressionCache: define(299, { domain, flags: uint }, { cacheSize: size }),
  domainMigrateSetCompressionCache: define(300, { domain, cacheSize: size, flags: uint }, {}),
  domainMigrateStartPostCopy: define(364, { domain, flags: uint }, {}),
  /** Times in ms, amounts in bytes. */
  domainGetJobInfo: define(
    163,
    { domain },
    {
      type: int,
      timeElapsed: size,
      timeRemaining: size,
      dataTotal: size,
      dataProcessed: size,
      dataRemaining: size,
      memoryTotal: size,
      memoryProcessed: size,
      memoryRemaining: size,
      fileTotal: size,
      fileProcessed: size,
      fileRemaining: size,
    },
  ),
  domainGetJobStats: define(298, { domain, flags: uint }, { type: int, params }),
  domainAbortJob: define(164, { domain }, {}),
  domainAbortJobFlags: define(442, { domain, flags: uint }, {}),
} as const;

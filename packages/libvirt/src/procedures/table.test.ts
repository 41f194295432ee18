import assert from "node:assert/strict";
import { test } from "node:test";
import { CONNECTION_CLOSED_MESSAGE, eventDefinitions } from "./events.ts";
import { procedures } from "./table.ts";

test("every procedure has a number of its own, and none is an event's", () => {
  const seen = new Map<string, string>();
  for (const [key, { program, number }] of Object.entries(procedures)) {
    const id = `${program}:${number}`;
    assert.equal(seen.get(id), undefined, `${key} and ${seen.get(id)} share number ${number}`);
    seen.set(id, key);
  }
  const messages = [...Object.values(eventDefinitions).map(({ message }) => message), CONNECTION_CLOSED_MESSAGE];
  assert.equal(new Set(messages).size, messages.length);
  for (const message of messages) assert.equal(seen.get(`${procedures.connectOpen.program}:${message}`), undefined);
});

test("events of a family have numbers without gaps or repeats", () => {
  const byFamily = Map.groupBy(Object.values(eventDefinitions), ({ family }) => family);
  for (const [family, definitions] of byFamily) {
    const ids = definitions.map(({ id }) => id).toSorted((left, right) => left - right);
    assert.deepEqual(
      ids,
      ids.map((_id, index) => index),
      family,
    );
  }
  assert.equal(byFamily.get("domain")?.length, 27);
});

test("names are libvirt's", () => {
  assert.equal(procedures.domainGetXmlDesc.name, "DOMAIN_GET_XML_DESC");
  assert.equal(procedures.domainMigrateBegin3Params.name, "DOMAIN_MIGRATE_BEGIN3_PARAMS");
  assert.deepEqual(
    [302, 303, 304, 305, 306, 307],
    [
      procedures.domainMigrateBegin3Params,
      procedures.domainMigratePrepare3Params,
      procedures.domainMigratePrepareTunnel3Params,
      procedures.domainMigratePerform3Params,
      procedures.domainMigrateFinish3Params,
      procedures.domainMigrateConfirm3Params,
    ].map(({ number }) => number),
  );
});

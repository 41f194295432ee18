import assert from "node:assert/strict";
import { test } from "node:test";
import { SheafError } from "@sheaf/model";
import { readXml } from "./xml-reader.ts";

test("elements, attributes, text, character data, comments and instructions are read", () => {
  const root = readXml(
    `<?xml version="1.0"?>\n<!-- by hand -->\n<a one='1 &lt; 2' two = "it's &quot;it&quot;&#10;&#x41;"><b/>t&amp;<!-- <c> --><c >x<![CDATA[<&amp;>]]></c\n><b x='y'/></a>\n`,
    "a",
  );
  assert.deepEqual({ ...root.attributes }, { one: "1 < 2", two: 'it\'s "it"\nA' });
  assert.equal(root.text, "t&");
  assert.equal(root.textOf("c"), "x<&amp;>");
  assert.deepEqual(
    root.all("b").map(({ attributes }) => attributes["x"]),
    [undefined, "y"],
  );
});

test("a name that means something to objects means nothing here", () => {
  const root = readXml("<a __proto__='x' constructor='y'/>", "a");
  assert.equal(root.attributes["__proto__"], "x");
  assert.equal(readXml("<a/>", "a").attributes["constructor"], undefined);
});

const broken = {
  nothing: "",
  "another root": "<b/>",
  "two roots": "<a/><a/>",
  "cut off in text": "<a><b>te",
  "cut off in a tag": "<a><b x='1'",
  "cut off in a value": "<a x='1",
  "cut off in a comment": "<a><!-- ",
  crossed: "<a><b></a></b>",
  "not closed": "<a><b></a>",
  "a value without quotes": "<a x=1/>",
  "an attribute twice": "<a x='1' x='2'/>",
  "a tag in a value": "<a x='<'/>",
  "an unknown entity": "<a>&nbsp;</a>",
  "an open entity": "<a>&amp</a>",
  "a bare ampersand": "<a>a & b</a>",
  "a character beyond all": "<a>&#x110000;</a>",
  "a document type": "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
} as const;
for (const [what, xml] of Object.entries(broken))
  test(`refused: ${what}`, () =>
    assert.throws(
      () => readXml(xml, "a"),
      (error: unknown) => error instanceof SheafError && error.code === "internal",
    ));

// The API, as its own document has it.

import { h, replace, card, table } from "/assets/dom.js";
import { get } from "/assets/api.js";

export async function reference(main) {
  const { paths, components } = await get("/api/v1/openapi.json");
  const name = (schema) => {
    if (!schema) return "";
    if (schema.$ref) return schema.$ref.split("/").at(-1);
    if (schema.anyOf) return schema.anyOf.map(name).join(" or ");
    if (schema.type === "array") return `list of ${name(schema.items) || "objects"}`;
    return [schema.type ?? ""].flat().join(" or ");
  };
  const of = (content) => Object.entries(content ?? {}).map(([kind, { schema }]) => (kind === "application/json" ? name(schema) : kind)).join(", ");
  const rows = Object.entries(paths).flatMap(([path, ways]) => Object.entries(ways).map(([method, way]) => [
    h("code.whole", {}, `${method.toUpperCase()} ${path}`), way.summary, way["x-role"] ?? "everybody",
    way.parameters.map((one) => h("div", { title: one.description }, h("code", {}, one.name), h("small", {}, ` ${name(one.schema)}${one.required ? "" : ", optional"}`))),
    of(way.requestBody?.content), of(way.responses["200"]?.content)]));
  const members = ([title, schema]) => [h("code", {}, title), schema.description ?? "",
    Object.entries(schema.properties ?? {}).map(([member, one]) => h("div", { title: one.description }, h("code", {}, member), h("small", {}, ` ${name(one) || "anything"}`))),
    (schema.enum ?? (schema.oneOf ?? []).map((one) => one.const)).filter(Boolean).join(", ")];
  replace(main, h("h1", {}, "API"),
    h("p.hint", {}, "For programs, with a token from the page of your account as ", h("code", {}, "Authorization: Bearer …"), ". ",
      h("a", { href: "/api/v1/openapi.json", download: "palisade-openapi.json" }, "openapi.json"), " describes it for them. Lists that go on say where in ", h("code", {}, "Link"), ", what has not changed is not sent again to who names its ", h("code", {}, "ETag"), "."),
    table("Ways to ask", ["Way", "What", "Who", "Parameters", "Takes", "Gives"], rows, ""),
    card("Types", table("Types", ["Name", "What", "Members", "Values"], Object.entries(components.schemas).map(members), "")));
}

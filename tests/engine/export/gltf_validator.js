// Prints, for each GLB named by a line of the standard input, one line of JSON: its name and issues.
const fs = require("fs");
const path = require("path");
const validator = require(path.join(process.argv[2], "node_modules", "gltf-validator"));

async function main() {
  for (const name of fs.readFileSync(0, "utf8").split("\n").filter(Boolean)) {
    const report = await validator.validateBytes(new Uint8Array(fs.readFileSync(name)));
    const { numErrors, numWarnings, numInfos, messages } = report.issues;
    const faces = report.info.totalTriangleCount;
    console.log(JSON.stringify({ name, numErrors, numWarnings, numInfos, messages, faces }));
  }
}

main();

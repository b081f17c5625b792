// Compiles a MoonBit program to WebAssembly with garbage-collected objects.
//
//     node build-moonbit.cjs collected.mbt collected.wasm
//
// MoonBit's compiler and the sources of its library come from the npm package
// @moonbit/moonpad-monaco (0.1.202602255, Apache-2.0), which is unpacked into an ignored folder. The
// package ships the library compiled for JavaScript only, so it is compiled here for `wasm-gc` first.
"use strict";
const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");
const vm = require("node:vm");
const zlib = require("node:zlib");

const PACKAGE = "@moonbit/moonpad-monaco@0.1.202602255";
const TARGET = "wasm-gc";
const LIBRARY = "moonbitlang/core";
// The compiler's own virtual names of sources and interfaces.
const BUNDLE = "/lib/core/_build/js/release/bundle/";
const LIBRARY_ROOT = "moonbit-core:/lib/core";

/** Unpacks the package, if it is not there, and says where its files are. */
function unpack() {
    const folder = path.join(__dirname, "../../third_party/moonbit");
    if (!fs.existsSync(path.join(folder, "package"))) {
        fs.mkdirSync(folder, { recursive: true });
        const archive = execFileSync("npm", ["pack", "--silent", PACKAGE], { cwd: folder, encoding: "utf8" }).trim();
        execFileSync("tar", ["xzf", archive], { cwd: folder });
    }
    return path.join(folder, "package/dist");
}

/** The compiler, which expects to be a browser's worker and to announce itself with its last call. */
function compilerOf(dist) {
    const worker = fs.readFileSync(path.join(dist, "moonc-worker.js"), "utf8");
    const announcement = /[\w$]+\(([\w$]+)\);?(\s*\/\*[^]*?\*\/)?\s*$/;
    globalThis.require = require;
    globalThis.self = globalThis;
    vm.runInThisContext(worker.replace(announcement, "globalThis.moonc = $1;"));
    return globalThis.moonc;
}

/** The library's files by virtual path; the package holds them as strings of base64. */
function filesOf(dist) {
    const bundle = fs.readFileSync(path.join(dist, "moonpad-monaco.js"), "utf8");
    const contents = new Map();
    for (const [, variable, text] of bundle.matchAll(/([\w$]+) = d\("([^"]*)"\)/g)) contents.set(variable, text);
    const files = new Map();
    for (const [, name, variable] of bundle.matchAll(/i\["(\/lib\/core\/[^"]+)"\] = ([\w$]+);/g)) {
        if (contents.has(variable)) files.set(name, Buffer.from(contents.get(variable), "base64"));
    }
    return files;
}

/** The virtual name under which the compiler looks an interface up: where it is, and what sources call it. */
function interfaceName(name, alias = name.split("/").pop()) {
    return `${name.replace(LIBRARY, "/lib/core")}:${alias}`;
}

/** The library's packages, each after those it needs. */
function packagesInOrder(files) {
    const { packages } = JSON.parse(files.get("/lib/core/_build/packages.json").toString());
    const byName = new Map(packages.filter((p) => p.root === LIBRARY).map((p) => [`${LIBRARY}/${p.rel}`, p]));
    const order = new Map();
    const visit = (name) => {
        if (order.has(name) || !byName.has(name)) return;
        byName.get(name).deps.forEach((dep) => visit(dep.path));
        order.set(name, byName.get(name));
    };
    [...byName.keys()].forEach(visit);
    return order;
}

/** Compiles the library. Packages that need regular expressions are left out: they do not compile alone. */
function compileLibrary(moonc, files) {
    const interfaces = new Map();
    const cores = [];
    const packages = packagesInOrder(files);
    for (const [name, info] of packages) {
        const missing = info.deps.some((dep) => packages.has(dep.path) && !interfaces.has(dep.path));
        if (missing || /regex/.test(name)) continue;
        const chosen = Object.entries(info.files).filter(
            ([, file]) => file.backend.includes("WasmGC") && file.optlevel.includes("Release"),
        );
        const aliases = new Map(info.deps.map((dep) => [dep.path, dep.alias]));
        const named = (entries) => entries.map(([dep, mi]) => [interfaceName(dep, aliases.get(dep)), mi]);
        const direct = [...interfaces].filter(([dep]) => aliases.has(dep));
        const indirect = [...interfaces].filter(([dep]) => !aliases.has(dep));
        const built = moonc.buildPackage({
            mbtFiles: chosen.map(([file]) => [path.basename(file), files.get(file.replace("moonbit-core:", "")).toString()]),
            miFiles: named(direct),
            indirectImportMiFiles: named(indirect),
            stdMiFiles: [],
            target: TARGET,
            pkg: name,
            pkgSources: [`${name}:${info["root-path"]}`],
            isMain: false,
            errorFormat: "human",
            enableValueTracing: false,
            noOpt: false,
        });
        if (built.core === undefined) throw new Error(`${name}: ${built.diagnostics.join("\n")}`);
        interfaces.set(name, built.mi);
        cores.push(built.core);
    }
    return { interfaces, cores };
}

function compileProgram(moonc, files, library, source) {
    const standard = new Map();
    for (const [name, bytes] of files) {
        if (!name.endsWith(".mi")) continue;
        standard.set(interfaceName(`${LIBRARY}/${path.dirname(name.slice(BUNDLE.length))}`), new Uint8Array(bytes));
    }
    for (const [name, bytes] of library.interfaces) standard.set(interfaceName(name), bytes);
    const built = moonc.buildPackage({
        mbtFiles: [[path.basename(source), fs.readFileSync(source, "utf8")]],
        miFiles: [],
        indirectImportMiFiles: [],
        stdMiFiles: [...standard],
        target: TARGET,
        pkg: "guest/main",
        pkgSources: ["guest/main:guest:/"],
        isMain: true,
        errorFormat: "human",
        enableValueTracing: false,
        noOpt: false,
    });
    if (built.core === undefined) throw new Error(built.diagnostics.join("\n"));
    const linked = moonc.linkCore({
        coreFiles: [...library.cores, built.core],
        main: "guest/main",
        pkgSources: ["guest/main:guest:/", `${LIBRARY}:${LIBRARY_ROOT}`],
        target: TARGET,
        exportedFunctions: [],
        outputFormat: "wasm",
        testMode: false,
        debug: false,
        noOpt: false,
        sourceMap: false,
        sources: {},
        stopOnMain: false,
    });
    return linked.result;
}

const [source, output] = process.argv.slice(2);
if (output === undefined) {
    console.error("usage: node build-moonbit.cjs SOURCE.mbt OUTPUT.wasm");
    process.exit(2);
}
const dist = unpack();
const moonc = compilerOf(dist);
const files = filesOf(dist);
const bytes = compileProgram(moonc, files, compileLibrary(moonc, files), source);
fs.writeFileSync(output, bytes);
console.log(`${output}: ${bytes.length} bytes`);

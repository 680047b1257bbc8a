# From the prototypes of ops.h, each of which begins at the start of a line and ends with ");":
#   -v make=names -v device=X      every function of the contract renamed for one backend, so that several link side by side
#   -v make=table -v devices="X Y" for dispatch.c: a table of functions for each backend, and calls through it
function last_word(s) {
    match(s, /[A-Za-z0-9_]+$/)
    return substr(s, RSTART)
}

# Whether an argument is a tensor: all that ops of mathematics take by an address, and the device's side of a copy. What they
# point to by a struct or by a list of addresses is not looked at.
function is_device(name, arg) {
    if (name ~ /^ops_/) return arg ~ /void \*(device|to|from)$/
    return arg ~ /^ *(const )?(void|act|float|double|int32_t|uint16_t) \*[a-z0-9_]+$/
}

function emit(text,    at, name, type, args, n, part, i, list, call, check) {
    gsub(/[ \t]+/, " ", text)
    at = index(text, "(")
    name = last_word(substr(text, 1, at - 1))
    type = substr(text, 1, at - 1 - length(name))
    args = substr(text, at + 1)
    sub(/\);.*/, "", args)
    if (make == "names") print "#define " name " " device "_" name
    members = members "    " type "(*" name ")(" args ");\n"
    for (i = 1; i <= count; i++) {
        externs = externs type backend[i] "_" name "(" args ");\n"
        entries[i] = entries[i] ", " backend[i] "_" name
    }
    if (name ~ /^ops_(open|close|has_bf16|memory_bytes|free_bytes|reserve|release)$/) return
    n = split(args, part, ",")
    for (i = 2; i <= n; i++) {
        list = list ", " last_word(part[i])
        if (is_device(name, part[i])) check = check "    DEVICE(" last_word(part[i]) ");\n"
    }
    call = "ops->device->" name "(ops->own" list ");"
    if (type != "void ") call = type "result = " call
    calls = calls type name "(" args ") {\n    ENTER(ops);\n" check "    " call "\n    LEAVE(ops);\n"
    if (type != "void ") calls = calls "    return result;\n"
    calls = calls "}\n"
}

BEGIN { count = split(devices, backend, " ") }
{ sub(/ *\/\/.*/, "") }
text != "" { text = text " " $0 }
text == "" && /^[A-Za-z][A-Za-z0-9_ ]*[ *]ops?_[a-z0-9_]+\(/ && !/^(typedef|static|enum)/ { text = $0 }
text ~ /\);/ { emit(text); text = "" }
END {
    if (make == "names") exit
    print "typedef struct Device {\n    const char *name;\n" members "} Device;\n" externs
    print "static const Device devices[] = {"
    for (i = 1; i <= count; i++) print "    {\"" backend[i] "\"" entries[i] "},"
    print "};\n\nstruct Ops {\n    const Device *device;\n    Ops *own;\n};\n"
    print calls
}

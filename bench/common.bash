# Shared by the scripts of this folder, which run in the repository's root: $page is where their tables stand.
page=docs/performance.md

# bench WHAT OPTION...: one JSON object
bench() {
    build/latentr3 bench "$@" --split valid --json 2>/dev/null
}

# replace NAME FILE: what stands in the page between <!-- NAME --> and <!-- end NAME --> becomes FILE.
replace() {
    awk -v begin="<!-- $1 -->" -v end="<!-- end $1 -->" -v file="$2" '
        $0 == begin { print; while ((getline row < file) > 0) print row; skip = 1; next }
        $0 == end { skip = 0 }
        !skip' "$page" >"$page.new" && mv "$page.new" "$page"
}

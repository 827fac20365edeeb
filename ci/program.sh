# Shared code of ci/book, ci/compare, ci/deny and ci/spelling, which source it from the repository's root.
#
# program <package> <version> <name>: prints the path of a program that a package of the Python registry brings.
# Installs it into the target directory if it is not there yet, which takes seconds.
program() {
    local directory
    directory=$(realpath -m "${CARGO_TARGET_DIR:-target}")/programs/$1-$2
    test -x "$directory/bin/$3" || python3 -m pip install --quiet --disable-pip-version-check \
        --root-user-action=ignore --target "$directory" "$1==$2" >&2
    test -x "$directory/bin/$3" || { echo "$1 $2 has no program $3" >&2; return 1; }
    printf '%s\n' "$directory/bin/$3"
}

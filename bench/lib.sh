# What the comparisons share. Sourced from the root of the project: . bench/lib.sh

# Seconds on the clock of one run of a command.
seconds() {
  start=$(date +%s%N)
  "$@" >/dev/null || { echo "$(basename "$0" .sh): failed: $*" >&2; exit 1; }
  end=$(date +%s%N)
  echo "$start $end" | awk '{printf "%.6f", ($2 - $1) / 1e9}'
}

# Functions of awk, to be put before a program: awk "$medians"'{ ... }'
#   median(list, n)         the middle of list[1] to list[n]; sorts the list
#   median_of(table, n, k)  the same of table[k, 1] to table[k, n[k]]
medians='
function median(list, n,   i, j, t) {
  for (i = 2; i <= n; i++)
    for (j = i; j > 1 && list[j - 1] > list[j]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
  return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}
function median_of(table, n, k,   i, list) {
  for (i = 1; i <= n[k]; i++) list[i] = table[k, i]
  return median(list, n[k])
}
'

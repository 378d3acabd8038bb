#!/usr/bin/env python3
"""Tables of docs/accuracy.md from recipe_screen.py's CSV: mean and deviation over the seeds, or one recipe against another.

    python3 tools/recipe_table.py bench/results/recipes.csv default stfpm-40 channel-40:keep  a line a recipe (and mode)
    python3 tools/recipe_table.py bench/results/recipes.csv --against default channel-40      seed by seed and by class
"""
import argparse
import csv
import statistics

# name, map, memory's weight, smoothing, top per cent of the image score, metric
COLUMNS = [("student, product: image", "product", "0", "0", "0", "image"), ("pixel", "product", "0", "0", "0", "pixel"),
           ("AUPRO", "product", "0", "0", "0", "aupro"),
           ("student, standardised: image", "standard", "0", "2", "0", "image"), ("pixel", "standard", "0", "2", "0", "pixel"),
           ("AUPRO", "standard", "0", "2", "0", "aupro"),
           ("with the memory: image", "standard", "2", "2", "0", "image"), ("pixel", "standard", "2", "2", "0", "pixel"),
           ("AUPRO", "standard", "2", "2", "0", "aupro")]


def read(path):
    found = {}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = (row["recipe"], row["mode"], row["map"], row["memory"], row["sigma"], row["top"])
            found.setdefault(key, {})[row["seed"]] = row
    return found


def spread(values):
    if not values:
        return "-"
    return f"{statistics.mean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def values(found, recipe, column):
    name, _, mode = recipe.partition(":")
    rows = found.get((name, mode or "drop") + column[1:5], {})
    return {seed: float(row[column[5]]) for seed, row in rows.items() if row[column[5]]}


def table(found, recipes):
    print("| recipe | seeds | " + " | ".join(c[0] for c in COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 2) + "|")
    for recipe in recipes:
        cells = [values(found, recipe, c) for c in COLUMNS]
        print(f"| {recipe} | {max(len(c) for c in cells)} | " + " | ".join(spread(list(c.values())) for c in cells) + " |")


def against(found, first, recipes):
    classes = sorted({k for rows in found.values() for row in rows.values() for k in row if " " in k})
    for recipe in recipes:
        for column in COLUMNS:
            a, b = values(found, recipe, column), values(found, first, column)
            gains = [a[s] - b[s] for s in sorted(a.keys() & b.keys())]
            print(f"{recipe} - {first}, {column[1]}, memory {column[2]}, {column[5]}: {spread(gains)}  "
                  f"({' '.join(f'{g:+.2f}' for g in gains)})")
            for name in (c for c in classes if c.startswith(column[5] + " ")):
                own = column[:5] + (name,)
                a_class, b_class = values(found, recipe, own), values(found, first, own)
                print(f"    {name[len(column[5]) + 1:]:<12} {spread([a_class[s] - b_class[s] for s in a_class.keys() & b_class.keys()])}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv")
    parser.add_argument("recipes", nargs="*", help="NAME or NAME:keep or NAME:average (default: all)")
    parser.add_argument("--against", metavar="RECIPE", help="differences to this recipe instead")
    options = parser.parse_intermixed_args()
    found = read(options.csv)
    recipes = options.recipes or list(dict.fromkeys(f"{k[0]}:{k[1]}" for k in found))
    if options.against:
        against(found, options.against, recipes)
    else:
        table(found, recipes)


if __name__ == "__main__":
    main()

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTitlesAndGrantsDecideTheLicence(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"apache":                  {"Apache License\n   Version 2.0, January 2004\n", "Apache-2.0"},
		"mit":                     {"Permission is hereby granted, free of charge, to any person obtaining a copy of x. The above copyright notice and this permission notice shall", "MIT"},
		"three clauses":           {"Redistribution and use in source and binary forms, with or without ... Neither the name of Google", "BSD-3-Clause"},
		"two clauses":             {"Redistribution and use in source and binary forms, with or without modification, are permitted", "BSD-2-Clause"},
		"mozilla names the GPL":   {"Mozilla Public License, version 2.0\n means either the GNU General Public License, Version 2.0, the GNU Affero", "MPL-2.0"},
		"affero":                  {"GNU AFFERO GENERAL PUBLIC LICENSE\n Version 3", "AGPL"},
		"gpl":                     {"GNU GENERAL PUBLIC LICENSE Version 2", "GPL"},
		"lesser":                  {"GNU Lesser General Public License", "LGPL"},
		"apache with affero part": {"Apache License Version 2.0 ... the folder x is under the GNU Affero General Public License", "AGPL"},
		"unknown":                 {"all rights reserved", ""},
		"nothing":                 {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := classify(c.text); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestTheNearestLicenceFileCovers(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("LICENSE.txt", "Apache License Version 2.0")
	write("licence.go", "package x // GNU General Public License")
	write("a/b/b.go", "package b")
	write("c/COPYING", "GNU General Public License")
	write("d/LICENSE", "ask me")
	for dir, want := range map[string]string{"a/b": "Apache-2.0", "": "Apache-2.0", "c": "GPL"} {
		if _, got, err := licenceOf(linked{dir: filepath.Join(root, dir), moduleDir: root}); got != want || err != nil {
			t.Errorf("%q: got %q, %v, want %q", dir, got, err, want)
		}
	}
	if _, _, err := licenceOf(linked{dir: filepath.Join(root, "d"), moduleDir: root}); err == nil || !strings.Contains(err.Error(), "no licence that this check knows") {
		t.Errorf("an unknown text gave %v", err)
	}
	bare := t.TempDir()
	if _, _, err := licenceOf(linked{dir: bare, moduleDir: bare}); err == nil || !strings.Contains(err.Error(), "no licence file") {
		t.Errorf("a folder without a licence gave %v", err)
	}
}

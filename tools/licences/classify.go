package main

import "strings"

// classify names the licence whose words the text holds, by its SPDX identifier, or returns "". A text that holds several names the
// strictest: the copyleft ones are asked first, by their titles, because Apache-2.0 and others mention no GPL by title.
func classify(text string) string {
	words := strings.ToLower(strings.Join(strings.Fields(text), " "))
	// MPL-2.0 mentions the GNU licences as "Secondary Licenses"; its own title decides.
	mozilla := strings.HasPrefix(words, "mozilla public license") || strings.Contains(words, "mozilla public license, version 2.0")
	if !mozilla {
		for _, copyleft := range []struct{ title, name string }{
			{"gnu affero general public license", "AGPL"},
			{"gnu lesser general public license", "LGPL"},
			{"gnu library general public license", "LGPL"},
			{"gnu general public license", "GPL"},
			{"server side public license", "SSPL"},
			{"business source license", "BUSL"},
			{"commons clause", "Commons-Clause"},
			{"elastic license", "Elastic"},
		} {
			if strings.Contains(words, copyleft.title) {
				return copyleft.name
			}
		}
	}
	has := func(phrases ...string) bool {
		for _, p := range phrases {
			if !strings.Contains(words, p) {
				return false
			}
		}
		return true
	}
	switch {
	case mozilla && has("version 2.0"):
		return "MPL-2.0"
	case has("apache license", "version 2.0"):
		return "Apache-2.0"
	case has("redistribution and use in source and binary forms", "neither the name"),
		has("redistribution and use in source and binary forms", "names of its contributors may not be used"),
		has("redistribution and use in source and binary forms", "may not be used to endorse or promote"):
		return "BSD-3-Clause"
	case has("redistribution and use in source and binary forms"):
		return "BSD-2-Clause"
	case has("permission is hereby granted, free of charge, to any person obtaining a copy", "the above copyright notice and this permission notice"):
		return "MIT"
	case has("permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted, provided that the above copyright notice"),
		has("permission to use, copy, modify, and distribute this software for any purpose with or without fee is hereby granted, provided that the above copyright notice"):
		return "ISC"
	case has("permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted."):
		return "0BSD"
	case has("this is free and unencumbered software released into the public domain"):
		return "Unlicense"
	case has("cc0 1.0 universal"):
		return "CC0-1.0"
	case has("the origin of this software must not be misrepresented", "altered source versions must be plainly marked"):
		return "Zlib"
	}
	return ""
}

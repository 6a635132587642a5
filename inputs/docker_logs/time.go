package dockerlogs

import "time"

// parseTime reads a time as Docker writes it, RFC 3339 in UTC with any number of digits after the second, as nanoseconds since 1970.
// Another form of RFC 3339 is read the slow way.
func parseTime(b []byte) (int64, bool) {
	const shape = "2006-01-02T15:04:05"
	if len(b) <= len(shape) || b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' {
		return parseTimeSlow(b)
	}
	year := two(b, 0)*100 + two(b, 2)
	month, day, hour, minute, second := two(b, 5), two(b, 8), two(b, 11), two(b, 14), two(b, 17)
	// What is out of range here, two's sum for other bytes than digits among it, is left to the standard library.
	if year < 1971 || year > 2200 || month < 1 || month > 12 || day < 1 || day > 28 && day > daysIn(year, month) ||
		hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59 {
		return parseTimeSlow(b)
	}
	rest := b[len(shape):]
	var nanos int64
	if rest[0] == '.' {
		i, scale := 1, int64(1e9)
		for ; i < len(rest) && '0' <= rest[i] && rest[i] <= '9'; i++ {
			if scale == 1 {
				return parseTimeSlow(b)
			}
			scale /= 10
			nanos += int64(rest[i]-'0') * scale
		}
		if i == 1 {
			return parseTimeSlow(b)
		}
		rest = rest[i:]
	}
	if len(rest) != 1 || rest[0] != 'Z' {
		return parseTimeSlow(b)
	}
	return (int64(daysSince1970(year, month, day))*86400+int64(hour*3600+minute*60+second))*1e9 + nanos, true
}

func parseTimeSlow(b []byte) (int64, bool) {
	if len(b) > 64 {
		return 0, false
	}
	t, err := time.Parse(time.RFC3339Nano, string(b))
	if err != nil || t.Year() < 1678 || t.Year() > 2261 { // what an int64 of nanoseconds can hold
		return 0, false
	}
	return t.UnixNano(), true
}

// two is the number that two digits stand for, or one below -1000 when they are none.
func two(b []byte, i int) int {
	tens, ones := b[i]-'0', b[i+1]-'0'
	if tens > 9 || ones > 9 {
		return -1 << 20
	}
	return int(tens)*10 + int(ones)
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// daysSince1970 counts years from March, so that a leap day is a year's last: the months before then have 30.6 days on average, rounded.
func daysSince1970(year, month, day int) int {
	if month <= 2 {
		year--
		month += 12
	}
	return 365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 1 - 719468
}

// Package window answers when an installation may start: may it now, when next, does it fit (T4).
//
// Parties. A task carries a Schedule, written by a person. Parse turns it into Windows once, on the
// server when the task is saved and again on the device; both ask the same questions of it, with the
// time, the device's zone and its id as values: At, Next, Fits, Missed. A zone is loaded once by its name
// (LoadZone), which is the only thing here that reads anything: the database of time zones.
//
// What is read of RFC 5545: the recurrence rule of 3.3.10 with FREQ from YEARLY to HOURLY, INTERVAL,
// COUNT, UNTIL, WKST, BYMONTH, BYWEEKNO, BYYEARDAY, BYMONTHDAY, BYDAY, BYHOUR, BYMINUTE and BYSETPOS; a
// DTSTART of 3.8.2.4 in form 1 of 3.3.5 (local time without a zone). What a rule leaves open (day,
// weekday, hour, minute) is taken from the start, as 3.3.10 says. Where the RFC leaves room:
//   - the start is the earliest that a window can be; it is itself one only if the rule says so, and
//     COUNT counts only what the rule says;
//   - days that do not exist (30 February) are skipped, never moved (3.3.10);
//   - UNTIL is local like the start, so it may not end in Z (3.3.10); a date means that whole day;
//   - BYWEEKNO looks at the weeks of the days in one calendar year;
//   - MINUTELY and SECONDLY, BYSECOND other than 0, and an hourly interval that does not divide a day are
//     refused: no window for updates needs them. So are parts given twice, and parts of other RFCs.
//
// Time:
//   - A rule is worked out on a clock without zone; each of its starts is then the first moment at which
//     the clocks of the zone show that time or a later one. So in a gap (clocks go forward, or a zone skips
//     a day) a start that does not exist moves to the first moment after the gap, and in a fold (clocks go
//     back) it is the first of two, once. 3.3.5 reads a gap differently (with the offset before it);
//     the first moment after it is never later and never earlier than the day's people expect.
//   - The length of a window is elapsed time: 4 h are 4 h on the night when clocks change.
//   - Windows that overlap or touch are one. Rules whose windows run into each other for more than
//     MaxRun are refused: that is "any time", and is said by leaving the rule out.
//   - A freeze is cut out of what it meets: a window that begins before a freeze ends at its start; what is
//     left after it is a window of its own. Freezes follow the same zone as the windows.
//   - A schedule without a rule is open at any time but in freezes.
//   - A zone that is not known holds (ZoneUnknown). It is never taken for UTC.
//
// Guarantees, each a property test against a walk through the calendar minute by minute: At, Next and
// Fits agree; Next only goes forward; the answers depend on nothing but their input; a device's share
// of the spread is the same each time it is asked and lies inside its window; a window that was done or
// was missed is never given twice, also when a clock goes back. Every question ends: a search looks at most
// Horizon ahead, so a hostile rule costs milliseconds.
//
// It does not know tasks, devices or the wall clock, and starts nothing.
package window

#!/bin/bash
set -e
python3 -m timesheet report hours.txt
grep -rn "parse_duration" timesheet | sort
cat timesheet/compat.py timesheet/_vendor/durations.py
sed -i 's/(?:(?P<minutes>\\d+)m)?")$/(?:(?P<minutes>\\d+)m|(?<=h)(?P<bare>[0-5]?\\d))?")/' timesheet/_vendor/durations.py
sed -i 's/_CLOCK.match(compact) or _UNITS.match(compact)/_CLOCK.fullmatch(compact) or _UNITS.fullmatch(compact)/' timesheet/_vendor/durations.py
sed -i 's/_amount(parts\["minutes"\])/_amount(parts["minutes"] or parts.get("bare"))/' timesheet/_vendor/durations.py
sed -i 's/(?:(\\d+)m)?")$/(?:(\\d+)m|(?<=h)([0-5]?\\d))?")/' timesheet/durations.py
sed -i 's/    hours, minutes = (int(part or 0) for part in match.groups())/    hours, minutes, bare = (int(part or 0) for part in match.groups())/' timesheet/durations.py
sed -i 's/    return hours \* 60 + minutes$/    return hours * 60 + minutes + bare/' timesheet/durations.py
python3 -m timesheet report hours.txt
python3 -m unittest

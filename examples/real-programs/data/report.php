<?php
$names = array_values(array_diff(scandir('/data'), ['.', '..']));
sort($names);
echo 'php ', PHP_VERSION, "\n";
echo 'sum of squares ', array_sum(array_map(fn($n) => $n * $n, range(1, 1000))), "\n";
echo 'listing ', json_encode($names), "\n";
echo 'sha256 ', hash('sha256', file_get_contents('/data/notes.txt')), "\n";
echo @file_get_contents('/etc/passwd') === false ? "outside is not visible\n" : "outside is visible\n";

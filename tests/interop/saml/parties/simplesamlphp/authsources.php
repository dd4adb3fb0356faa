<?php
$config = [
    'people' => [
        'exampleauth:UserPass',
        'maja:password-of-maja' => [
            'uid' => ['maja'],
            'urn:oid:2.16.840.1.113730.3.1.241' => ['Maja Lindqvist'],
            'urn:oid:0.9.2342.19200300.100.1.3' => ['maja@campus.example'],
        ],
    ],
];

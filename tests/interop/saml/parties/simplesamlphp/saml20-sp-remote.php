<?php
// Service providers are known by their own metadata, which lies in the folder.
foreach (glob(getenv('FOLDER') . '/*.xml') as $file) {
    $known = SimpleSAML\Metadata\SAMLParser::parseFile($file)->getMetadata20SP();
    $known['assertion.encryption'] = str_ends_with($file, '.sealed.xml');
    $metadata[$known['entityid']] = $known;
}
